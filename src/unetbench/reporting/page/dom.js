// Elements made from texts (never from markup), figures as the terminal's table writes them, the page's data.

const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);

function element(tag, attributes, ...children) {
  const svg = ["svg", "line", "circle", "title"].includes(tag) && attributes && attributes.svg !== false;
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Three significant digits and no exponent.
function milliseconds(value) {
  if (value === null) return "";
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

const fixed = (digits) => (value) => (value === null ? "" : value.toFixed(digits));
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

const data = read("data");
const specifications = read("specifications");
const rows = Array.from({ length: data.columns.case.length }, (_, at) => {
  const row = { at };
  for (const name in data.columns) row[name] = data.columns[name][at];
  row.preset = data.sources[row.source].preset;
  row.ok = row.status === "ok";
  row.failed = row.median_ms === null;
  row.low = row.interval_low_ms === null ? row.low_ms : row.interval_low_ms;
  row.high = row.interval_high_ms === null ? row.high_ms : row.interval_high_ms;
  row.first = row.rank === "" ? null : Number(row.rank.split("–")[0]);
  return row;
});
const tiesOf = (row) => data.ties[row.at] || [];
const several = (field) => new Set(rows.map((row) => row[field])).size > 1;
const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
