// What stands around the table: the front, the panels of recipes, machines side by side, failures, conditions.
// A section more is its data in table.py, a hidden <section> in page.html, and a function here that `apply` calls.

const SECTION_ROWS = 30;
const axes = { across: "parameters_m", up: "images_per_s" };

const chartRow = (row) => ({
  at: row.at, network: row.network, recipe: row.recipe, runtime: row.runtime, measured_class: row.measured_class,
  parameters_m: row.parameters_m, gflop: row.gflop, peak_mb: row.peak_mb, relative_error: row.relative_error,
  artifact_mb: row.artifact_mb, images_per_s: row.images_per_s, speedup: row.speedup,
  speedup_low: row.speedup_low, speedup_high: row.speedup_high,
});

function drawAxes() {
  const choice = (axis, label) => {
    const options = Object.entries(specifications[axis])
      .filter(([field]) => rows.some((row) => row.ok && row[field] > 0))
      .map(([field, title]) => element("option", { value: field, selected: field === axes[axis] }, title));
    const change = (event) => {
      axes[axis] = event.target.value;
      drawFront();
    };
    return element("label", {}, label, element("select", { id: `axis-${axis}`, on: { change } }, ...options));
  };
  byId("axes").replaceChildren(choice("up", "Up"), choice("across", "Across"));
}

// A specification of our own to change. A colour stays with its runtime when others are filtered away.
function adapted(specification) {
  const runtimes = [...new Set(rows.filter((row) => row.ok).map((row) => row.runtime))].sort();
  return JSON.parse(JSON.stringify(specification), (key, value) =>
    key === "color" && value?.field === "runtime" ? { ...value, scale: { ...value.scale, domain: runtimes } } : value,
  );
}

// The same rule as in the specification: from the cheapest on, those faster than all before of their kind.
function frontRows(from) {
  const ordered = [...from].sort((a, b) => a[axes.across] - b[axes.across] || b[axes.up] - a[axes.up]);
  const best = { true: -Infinity, false: -Infinity };
  return ordered.filter((row) => {
    const kind = row.measured_class === "approximate";
    if (row[axes.up] <= best[kind]) return false;
    best[kind] = row[axes.up];
    return true;
  });
}

async function drawFront() {
  const drawn = filtered.filter((row) => row.ok && row[axes.across] > 0 && row[axes.up] > 0);
  byId("front").hidden = !drawn.length;
  if (!drawn.length) return;
  const chips = frontRows(drawn).map((row) =>
    element("li", {}, element("button", { type: "button", title: row.recipe, on: { click: () => pick(row, { scroll: true }) } },
      row.network, element("span", { class: "quiet" }, `${milliseconds(row.median_ms)} ms${row.measured_class === "approximate" ? " ~" : ""}`))),
  );
  byId("front-list").replaceChildren(...chips);
  const spec = adapted(specifications.pareto[axes.across][axes.up]);
  if (byId("front-chart").clientWidth < 640) spec.layer.pop(); // names would hide the points: they are listed below
  const many = drawn.length > 400; // SVG draws fewer sharply, a canvas draws many fast
  await draw(byId("front-chart"), spec, drawn.map(chartRow), {
    renderer: many ? "canvas" : "svg",
    onClick: (row) => pick(row, { scroll: true }),
  });
}

async function drawRecipes() {
  const drawn = filtered.filter((row) => row.ok && row.speedup !== null && row.recipe !== "torch_eager/fp32");
  byId("recipes").hidden = !drawn.length;
  if (!drawn.length) return;
  const networks = new Set(drawn.map((row) => row.network)).size;
  const whole = byId("recipes").clientWidth;
  const labels = networks > specifications.barsAtMost ? 20 : Math.min(150, 7 * Math.max(...drawn.map((row) => row.network.length))) + 20;
  const columns = Math.max(1, Math.min(3, Math.floor((whole - labels) / 230)));
  const spec = adapted(networks > specifications.barsAtMost ? specifications.ablationTicks : specifications.ablation);
  spec.columns = columns;
  spec.spec.width = Math.floor((whole - labels - 30) / columns) - 24; // the networks' names stand once a line
  spec.facet.header.labelLimit = spec.spec.width;
  await draw(byId("recipes-chart"), spec, drawn.map(chartRow), { renderer: drawn.length > 400 ? "canvas" : "svg", onClick: (row) => pick(row, { scroll: true }) });
}

async function drawSections(most = SECTION_ROWS) {
  const visible = new Set(filtered);
  const cut = data.sections.filter(({ at }) => visible.has(rows[at]));
  byId("sections").hidden = !cut.length;
  drawMore(byId("sections-more"), cut.length, most, drawSections);
  if (!cut.length) return;
  const sources = new Set(cut.map(({ at }) => rows[at].source)).size > 1;
  const order = specifications.sections.layer[0].encoding.color.scale.domain;
  const shown = cut.slice(0, most);
  const chart = { ...specifications.sections, height: specifications.sections.height * shown.length };
  const drawn = shown.flatMap(({ at, parts, marks }) => {
    const row = rows[at];
    const label = `${row.network}${row.apart}\n${row.recipe}${sources > 1 ? ` · ${data.sources[row.source].label}` : ""}`;
    return [
      ...parts.map(([section, ms]) => ({ at, case: label, section, ms, place: order.indexOf(section) })),
      ...marks.filter(([, ms]) => ms !== null).map(([what, ms]) => ({ at, case: label, what, ms })),
    ];
  });
  await draw(byId("sections-chart"), chart, drawn, { onClick: (row) => pick(row, { scroll: true }) });
}

function drawMachines(most = SECTION_ROWS) {
  const cases = new Map();
  for (const row of kept("machine").filter((each) => each.ok)) {
    const name = [row.encoder, row.decoder, row.trained, row.recipe, row.size, `batch ${row.batch}`, `${row.threads} threads`, row.classes, row.channels].join(" | ");
    if (!cases.has(name)) cases.set(name, { row, on: new Map() });
    const on = cases.get(name).on;
    const known = on.get(row.machine); // of several sessions on one machine, the one with blocks
    if (!known || (known.blocks === null && row.blocks !== null)) on.set(row.machine, row);
  }
  const compared = [...cases.values()].filter(({ on }) => on.size > 1);
  byId("machines").hidden = !compared.length;
  const cell = (row) => (row ? `${milliseconds(row.median_ms)} ms${row.speedup === null ? "" : ` · ${row.speedup.toFixed(2)} ×`}` : "");
  const body = compared.slice(0, most).map(({ row, on }) =>
    element("tr", {}, element("th", { scope: "row", class: "left" }, row.network), element("td", { class: "left recipe" }, row.recipe), element("td", { class: "p1" }, row.size),
      ...data.machines.map((machine) => element("td", {}, cell(on.get(machine))))),
  );
  fill("machines", [["encoder", "left"], ["recipe", "left"], ["size", "p1"], ...data.machines.map((machine) => [machine, ""])], body);
  drawMore(byId("machines-more"), compared.length, most, drawMachines);
}

function drawFailures(most = SECTION_ROWS) {
  const failed = filtered.filter((row) => !row.ok);
  byId("failures").hidden = !failed.length;
  const body = failed.slice(0, most).map((row) =>
    element("tr", {}, element("th", { scope: "row", class: "left" }, row.network), element("td", { class: "left recipe" }, row.recipe),
      element("td", { class: "left status-bad" }, row.status), element("td", { class: "left" }, row.reason)),
  );
  fill("failures", [["encoder", "left"], ["recipe", "left"], ["status", "left"], ["why", "left"]], body);
  drawMore(byId("failures-more"), failed.length, most, drawFailures);
}

function fill(name, headings, body) {
  const table = byId(`${name}-table`);
  table.tHead.replaceChildren(element("tr", {}, ...headings.map(([text, kind]) => element("th", { scope: "col", class: kind }, text))));
  table.tBodies[0].replaceChildren(...body);
}

function drawSessions() {
  const articles = data.sources.map((each) =>
    element("article", {},
      element("h3", {}, `${each.label}: ${each.title}`),
      element("p", {}, each.conditions),
      element("details", { open: data.sources.length === 1 }, element("summary", {}, "What a reader must know"),
        element("ul", {}, ...each.notes.map((note) => element("li", {}, note)))),
    ),
  );
  byId("sessions").replaceChildren(...articles);
}

function drawHeading() {
  byId("title").textContent = data.title;
  const first = data.sources[0];
  const dates = data.sources.map((each) => each.started.slice(0, 10)).sort();
  const when = dates[0] === dates[dates.length - 1] ? dates[0] : `${dates[0]} to ${dates[dates.length - 1]}`;
  byId("conditions").textContent = data.sources.length === 1 ? first.conditions.split("; ").slice(0, 1).concat(when).join(" · ") : `${data.machines.join(" · ")} · ${when}`;
  const quick = data.sources.filter((each) => !each.verdicts);
  byId("sure").textContent =
    quick.length === 0
      ? "Ranks and verdicts are from paired blocks and hold together at 99 %, in each session. A rank of several places is of rows that are tied: select one, and those not told apart from it are tinted."
      : quick.length === data.sources.length
        ? "About how fast, and no more: these sessions state no verdicts. Neighbouring rows may change places when measured again."
        : `Ranks and verdicts, where a session states them, hold together at 99 % within it. ${count(quick.length, "session")} of ${data.sources.length} ${quick.length === 1 ? "states" : "state"} none: there, neighbouring rows may change places when measured again.`;
  byId("foot").textContent = `Made by unetbench ${data.version} from ${count(rows.length, "result")}. This file holds everything that it shows and asks nothing of any network.`;
}
