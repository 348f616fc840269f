// The table: its columns, the order, which rows are shown, which one is selected, cases that are opened in it.

const SHOWN_AT_FIRST = 40;
const SHOWN_MORE = 200;
const BAR = { width: 136, height: 20, margin: 6 };

let bars = [1, 10]; // ms at both ends of the bars
let filtered = rows;
let shown = SHOWN_AT_FIRST;
let sorted = { column: null, descending: false };
let picked = null;
const opened = new Map(); // place of a row: the row of its opened case

// `p1` to `p4`: which columns leave where the screen is narrow; the highest first.
const COLUMNS = [
  { name: "rank", key: (row) => row.first, cell: rankCell, needs: (each) => each.some((row) => row.first !== null), left: true, hide: "p2" },
  { name: "encoder", key: (row) => row.encoder, cell: encoderCell, left: true },
  { name: "decoder", key: (row) => row.decoder, left: true, hide: "p2", needs: () => several("decoder") },
  { name: "weights", key: (row) => row.trained, cell: (row) => broken(row.trained), left: true, hide: "p2", needs: () => several("trained") },
  { name: "recipe", key: (row) => row.recipe, cell: (row) => broken(row.recipe, /(?<=[+/>])/), left: true, kind: "recipe", hide: "p1" },
  { name: "answer", key: (row) => row.measured_class || null, left: true, hide: "p2" },
  { name: "machine", key: (row) => row.machine, left: true, hide: "p1", needs: (each) => new Set(each.map((row) => row.machine)).size > 1 }, // times of several mean nothing without it
  { name: "preset", key: (row) => row.preset, left: true, hide: "p4", needs: () => several("source") },
  { name: "size", key: (row) => parseInt(row.size, 10), cell: (row) => row.size, hide: "p1", needs: () => several("size") },
  { name: "batch", key: (row) => row.batch, hide: "p1", needs: () => several("batch") },
  { name: "classes", key: (row) => row.classes, hide: "p1", needs: () => several("classes") },
  { name: "channels", key: (row) => row.channels, hide: "p1", needs: () => several("channels") },
  { name: "threads", key: (row) => row.threads, hide: "p1", needs: () => several("threads") },
  { name: "params M", key: (row) => row.parameters_m, text: fixed(2), hide: "p3" },
  { name: "GFLOP", key: (row) => row.gflop, text: fixed(1), hide: "p4" },
  { name: "median ms", key: (row) => row.median_ms, text: milliseconds },
  { name: "interval", key: (row) => (row.failed ? null : row.low), cell: barCell, left: true },
  { name: "images/s", key: (row) => row.images_per_s, text: fixed(1), hide: "p1", high: true },
  { name: "speed-up", key: (row) => row.speedup, cell: speedupCell, high: true, hide: "p1" },
  { name: "verdict", key: (row) => row.verdict || null, cell: verdictCell, left: true, hide: "p2", needs: (each) => each.some((row) => row.verdict) },
  { name: "status", key: (row) => row.status, left: true, kind: "status", hide: "p2", needs: (each) => each.some((row) => !row.ok) },
  { name: "peak MB", key: (row) => row.peak_mb, text: fixed(0), hide: "p4" },
  { name: "size MB", key: (row) => row.artifact_mb, text: fixed(1), hide: "p4", needs: (each) => each.some((row) => row.artifact_mb) },
  { name: "error", key: (row) => row.relative_error, text: (value) => (value === null ? "" : value.toExponential(0)), hide: "p2" }, // as the rank: never one without it
].filter((column) => !column.needs || column.needs(rows));

// A long name may go on in the next line behind any of its joints.
function broken(text, joints = /(?<=[_+/>])/) {
  return text.split(joints).flatMap((part) => [part, element("wbr", {})]);
}

function rankCell(row) {
  if (row.first === null) return "";
  const tied = tiesOf(row).length;
  return [row.rank, tied ? element("span", { class: "tie", title: `not told apart from ${count(tied, "row")}` }, "tied") : null];
}

function encoderCell(row) {
  const button = element(
    "button",
    { type: "button", class: "open", "aria-expanded": opened.has(row.at) ? "true" : "false", on: { click: () => toggle(row) } },
    ...broken(row.encoder.split(".")[0]),
  );
  const tag = row.encoder.includes(".") ? element("span", { class: "tag" }, ...broken(row.encoder.slice(row.encoder.indexOf(".")))) : null;
  return [button, tag, element("span", { class: "sub" }, ...broken(row.recipe)), row.failed ? element("span", { class: "sub" }, row.status) : null];
}

function barCell(row) {
  if (row.failed) return "";
  const [low, high] = bars;
  const across = (ms) => BAR.margin + ((BAR.width - 2 * BAR.margin) * Math.log(ms / low)) / Math.log(high / low);
  const middle = BAR.height / 2;
  const loose = row.interval_low_ms === null;
  const said = `${milliseconds(row.low)} to ${milliseconds(row.high)} ms, ${loose ? "quartiles of one process" : "99 % interval over blocks"}`;
  const line = (kind, from, to) => element("line", { class: kind, x1: from, x2: to, y1: middle, y2: middle });
  const parts = [element("title", {}, said), line("track", 0, BAR.width)];
  if (row.low !== null) parts.push(line(loose ? "span loose" : "span", across(row.low), Math.max(across(row.high), across(row.low) + 1)));
  parts.push(element("circle", { class: loose ? "dot loose" : "dot", cx: across(row.median_ms), cy: middle, r: 3.2 }));
  return element("svg", { class: "bar", viewBox: `0 0 ${BAR.width} ${BAR.height}`, role: "img", "aria-label": said }, ...parts);
}

function speedupCell(row) {
  if (row.speedup === null) return "";
  const between = row.speedup_low === null ? null : element("span", { class: "tie" }, `${row.speedup_low.toFixed(2)}–${row.speedup_high.toFixed(2)}`);
  return [row.speedup.toFixed(2), between];
}

function verdictCell(row) {
  return element("span", { class: row.verdict }, row.verdict);
}

function cellOf(column, row) {
  const value = column.cell ? column.cell(row) : column.text ? column.text(column.key(row)) : column.key(row);
  const bad = column.kind === "status" && !row.ok ? " status-bad" : "";
  const kind = `${column.left ? "left " : ""}${column.hide || ""} ${column.kind || column.name.split(/[ /]/)[0]}${bad}`;
  const heads = column.name === "encoder";
  return element(heads ? "th" : "td", { class: kind, scope: heads ? "row" : null, hidden: column.empty }, ...[value].flat().map((part) => (part === null ? "" : part)));
}

function rowElement(row) {
  const tied = picked && tiesOf(picked).includes(row.at);
  const state = `${row.at === picked?.at ? " picked" : ""}${tied ? " tied" : ""}${row.failed ? " failed" : ""}`;
  const made = element("tr", { class: `row${state}`, id: `row-${row.at}` }, ...COLUMNS.map((column) => cellOf(column, row)));
  if (row.at === picked?.at) made.setAttribute("aria-current", "true");
  made.addEventListener("click", (event) => {
    if (!event.target.closest("button") && !String(getSelection())) pick(row);
  });
  return made;
}

function compare(a, b) {
  const [x, y] = [sorted.column.key(a), sorted.column.key(b)];
  if (x === null || y === null) return (x === null) - (y === null); // what is not known stays last
  const order = typeof x === "string" ? x.localeCompare(y) : x - y;
  return (sorted.descending ? -order : order) || a.at - b.at;
}

function sortBy(column, descending) {
  sorted = { column, descending };
  drawTable();
}

function drawHead() {
  const headings = COLUMNS.map((column) => {
    const press = () => sortBy(column, sorted.column === column ? !sorted.descending : Boolean(column.high));
    const button = element("button", { type: "button", on: { click: press } }, column.name);
    return element("th", { scope: "col", class: `${column.left ? "left " : ""}${column.hide || ""}` }, button);
  });
  byId("table").tHead.replaceChildren(element("tr", {}, ...headings));
  const choices = COLUMNS.flatMap((column, at) =>
    [false, true].map((down) => element("option", { value: `${at} ${down}` }, `${column.name} ${down ? "↓" : "↑"}`)),
  );
  byId("order").append(...choices);
  byId("order").addEventListener("change", (event) => {
    const [at, down] = event.target.value.split(" ");
    sortBy(COLUMNS[at], down === "true");
  });
}

function drawTable() {
  const headings = byId("table").tHead.rows[0].cells;
  COLUMNS.forEach((column, at) => {
    const now = column === sorted.column;
    column.empty = Boolean(column.needs && !column.needs(filtered)); // it would say nothing of these rows
    headings[at].hidden = column.empty;
    headings[at].setAttribute("aria-sort", now ? (sorted.descending ? "descending" : "ascending") : "none");
    if (now) byId("order").value = `${at} ${sorted.descending}`;
  });
  filtered.sort(compare);
  if (picked) shown = Math.max(shown, filtered.indexOf(picked) + 1);
  const timed = filtered.filter((row) => !row.failed);
  const [low, high] = extent(timed.flatMap((row) => [row.low ?? row.median_ms, row.high ?? row.median_ms]));
  bars = [low / 1.02, Math.max(high, low * 1.1) * 1.02];
  const body = filtered.slice(0, shown).flatMap((row) => [rowElement(row), opened.get(row.at)].filter(Boolean));
  byId("table").tBodies[0].replaceChildren(...body);
  byId("caption").textContent = timed.length
    ? `Bars: ${milliseconds(bars[0])} to ${milliseconds(bars[1])} ms, logarithmic. Thick: 99 % intervals over paired blocks. Thin and grey: quartiles of one process, which are no interval of confidence.`
    : "";
  drawMore(byId("more"), filtered.length, shown, (next) => {
    shown = next;
    drawTable();
  });
}

function drawMore(place, all, now, show) {
  if (all <= now) return place.replaceChildren();
  const step = Math.min(SHOWN_MORE, all - now);
  const more = element("button", { type: "button", on: { click: () => show(now + step) } }, `Show ${step} more`);
  const rest = element("button", { type: "button", on: { click: () => show(all) } }, `Show all ${all.toLocaleString("en")}`);
  return place.replaceChildren(`${now.toLocaleString("en")} of ${all.toLocaleString("en")} rows.`, more, ...(step < all - now ? [rest] : []));
}

function pick(row, { scroll = false } = {}) {
  picked = picked === row && !scroll ? null : row;
  drawTable();
  if (scroll) {
    byId(`row-${row.at}`)?.scrollIntoView({ block: "center" });
    byId(`row-${row.at}`)?.querySelector("button").focus({ preventScroll: true });
  }
  const tied = picked ? tiesOf(picked).length : 0;
  say(picked ? `Selected: ${picked.encoder}, ${picked.recipe}.${tied ? ` Not told apart from ${count(tied, "row")}, tinted.` : ""}` : "");
}

function toggle(row) {
  if (!opened.delete(row.at)) opened.set(row.at, caseRow(row));
  picked = row;
  drawTable();
  byId(`row-${row.at}`).querySelector("button").focus({ preventScroll: true });
}
