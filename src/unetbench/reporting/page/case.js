// A case that is opened: inflated from the page, its runs, their histogram, its certificate and its command.

const parts = read("cases");
const inflated = new Map();

function partOf(at) {
  const number = Math.floor(at / data.together);
  if (!inflated.has(number)) inflated.set(number, inflate(parts[number]));
  return inflated.get(number);
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function pairs(items) {
  return element("dl", {}, ...items.flatMap(([name, text]) => [element("dt", {}, name), element("dd", { class: text.includes("█") ? "drawn" : null }, text)]));
}

// Further lines of a finding have no heading of their own.
function findings(certificate) {
  const items = [];
  for (const [name, text] of certificate) {
    if (name) items.push([name, text]);
    else items[items.length - 1][1] += `\n${text}`;
  }
  return pairs(items);
}

function caseRow(row) {
  const place = element("div", { class: "case-grid" }, element("p", { role: "status" }, "Opening …"));
  const cell = element("td", { colspan: COLUMNS.length }, place);
  partOf(row.at).then(
    (part) => fillCase(place, row, part[row.at % data.together]),
    (error) => place.replaceChildren(`This case cannot be read here (${error.message}): a newer browser can, and so can unetbench report --case ${row.case}`),
  );
  return element("tr", { class: "case", id: `case-${row.at}` }, cell);
}

async function fillCase(place, row, detail) {
  const where = data.sources[row.source];
  const timed = detail.points.length;
  const thinned = detail.every > 1 ? ` Every ${detail.every}th run is drawn.` : "";
  const runs = element("div", { class: "chart", role: "img", "aria-label": `Runs of ${row.encoder}, ${row.recipe}, in order` });
  const spread = element("div", { class: "chart", role: "img", "aria-label": "Histogram of the timed runs" });
  const tied = tiesOf(row).map((at) => rows[at]);
  const ties = tied.length ? element("p", {}, `Not told apart from: ${tied.map((each) => `${each.encoder} ${each.recipe}`).join("; ")}.`) : null;
  const environment = element("details", {}, element("summary", {}, "Environment"), pairs([...detail.environment, ["session", `${where.session} of ${where.label}, preset ${where.preset}, begun ${where.started}`]]));
  place.replaceChildren(
    ...(timed
      ? [
          element("div", {}, element("h3", {}, "Runs"), runs, element("p", { class: "quiet small" }, `All runs in the order in which they were made, the disturbed ones too.${thinned}`)),
          element("div", {}, element("h3", {}, "Spread"), spread, element("p", { class: "quiet small" }, "All timed runs, quiet or not.")),
        ]
      : []),
    element("div", { class: "wide" }, element("h3", {}, "Certificate"), findings(detail.certificate), ties),
    element("div", { class: "wide" }, element("h3", {}, "Measure it again"), element("pre", {}, detail.command), environment),
  );
  if (!timed) return;
  await draw(runs, specifications.samples, detail.points.map(([at, ms, kind, block]) => ({ at, ms, kind, block })));
  await draw(spread, specifications.histogram, detail.bins.map(([low, high, number]) => ({ low, high, count: number })));
}
