// The page as a whole: filters, colours by day and night, what is drawn when. Sets data-ready when all is there.

const FILTERS = [
  ["family", "Encoder family"],
  ["decoder", "Decoder"],
  ["recipe", "Recipe"],
  ["measured_class", "Answer"],
  ["machine", "Machine"],
  ["trained", "Weights"],
  ["size", "Size"],
  ["preset", "Preset"],
].filter(([field]) => several(field));
// Times of two machines share no order: at first one machine is shown.
// One case may have been measured on several: `#case` is the first of them, `#case@2` that of the second store.
const linked = rows.find((row) => [`#${row.case}`, `#${row.case}@${row.source + 1}`].includes(location.hash));
const chosen = several("machine") ? { machine: linked ? linked.machine : data.sources[0].machine } : {};
let sought = "";

function say(text) {
  const timed = filtered.filter((row) => !row.failed).length;
  const without = filtered.length - timed;
  byId("count").textContent = `${count(filtered.length, "result")}${without ? `, ${without} without a time` : ""}. ${text}`;
}

function drawFilters() {
  const search = element("input", { type: "search", id: "search", placeholder: "encoder, recipe, status …", on: { input: (event) => typed(() => {
    sought = event.target.value.toLowerCase();
    apply();
  }) } });
  const selects = FILTERS.map(([field, label]) => {
    const values = [...new Set(rows.map((row) => row[field]))].filter(Boolean).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const change = (event) => {
      chosen[field] = event.target.value;
      event.target.parentElement.classList.toggle("changed", Boolean(event.target.value));
      apply();
    };
    const options = values.map((value) => element("option", { value, selected: value === chosen[field] }, value));
    return element("label", { class: chosen[field] ? "changed" : null }, label, element("select", { id: `filter-${field}`, on: { change } }, element("option", { value: "" }, "all"), ...options));
  });
  const clear = element("button", { type: "reset", id: "clear" }, "Clear");
  byId("filters").replaceChildren(element("label", { class: "find" }, "Search", search), ...selects, clear);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    for (const field in chosen) chosen[field] = "";
    for (const control of byId("filters").querySelectorAll("select, input")) control.value = "";
    for (const label of byId("filters").querySelectorAll(".changed")) label.classList.remove("changed");
    sought = "";
    apply();
  });
}

// The rows that all filters keep, but for one that is left aside.
function kept(aside = "") {
  const wanted = Object.entries(chosen).filter(([field, value]) => value && field !== aside);
  const words = sought.split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    if (!wanted.every(([field, value]) => row[field] === value)) return false;
    const text = words.length ? `${row.encoder} ${row.decoder} ${row.trained} ${row.recipe} ${row.status} ${row.measured_class} ${row.size} ${row.case}`.toLowerCase() : "";
    return words.every((word) => text.includes(word));
  });
}

// Each has a clock of its own: a window that changes its size must not hold up what was typed.
function settled() {
  let waiting = null;
  return (act) => {
    clearTimeout(waiting);
    waiting = setTimeout(act, 150); // ms after the last key: nobody waits, and nothing is drawn twice
  };
}
const typed = settled();
const resized = settled();

function apply() {
  filtered = kept();
  if (picked && !filtered.includes(picked)) picked = null;
  shown = SHOWN_AT_FIRST;
  drawTable();
  drawMachines();
  drawFailures();
  say("");
  return Promise.all([drawFront(), drawRecipes(), drawSections()]);
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
}

function begin() {
  const night = matchMedia("(prefers-color-scheme: dark)");
  setTheme(night.matches);
  const change = (dark) => {
    setTheme(dark);
    redrawAll();
  };
  night.addEventListener("change", (event) => change(event.matches));
  byId("theme").addEventListener("click", () => change(document.documentElement.dataset.theme !== "dark"));
  let width = innerWidth;
  addEventListener("resize", () => resized(() => {
    if (innerWidth !== width) drawRecipes();
    width = innerWidth;
  }));
  drawHeading();
  drawFilters();
  drawHead();
  drawAxes();
  drawSessions();
  sorted = { column: COLUMNS.find((column) => column.name === "median ms"), descending: false };
  requestAnimationFrame(() =>
    setTimeout(async () => {
      await apply();
      if (linked) {
        opened.set(linked.at, caseRow(linked));
        pick(linked, { scroll: true });
      }
      document.documentElement.dataset.openedMs = Math.round(performance.now()); // since the page was asked for
      document.documentElement.dataset.ready = "yes";
    }),
  );
}

begin();
