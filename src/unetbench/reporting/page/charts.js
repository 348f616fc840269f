// Vega's charts in the page's colours, with expressions interpreted (the policy allows no eval).

const ROWS = "rows"; // the data's name in every specification
const views = new Map(); // place: the view that is drawn there, and how to draw it anew

function look() {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet, line] = ["--ink", "--quiet", "--line"].map((name) => style.getPropertyValue(name).trim());
  const font = getComputedStyle(document.body).fontFamily;
  const narrow = document.body.clientWidth < 640;
  const text = { labelColor: quiet, titleColor: ink, labelFont: font, titleFont: font, labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: "transparent",
    font,
    view: { stroke: null },
    axis: { ...text, gridColor: line, domainColor: line, tickColor: line, titlePadding: 8, tickCount: narrow ? 4 : 7 },
    legend: { ...text, columns: narrow ? 2 : 7, symbolStrokeWidth: 0, symbolBaseFillColor: quiet, symbolSize: 80, labelLimit: 260 },
    header: { labelColor: ink, labelFont: font, labelFontSize: 11.5 },
    text: { fill: ink, color: ink },
  };
}

async function draw(place, specification, values, { renderer = "svg", onClick = null } = {}) {
  views.get(place)?.view.finalize();
  const spec = { ...specification, datasets: { [ROWS]: values } };
  const { view } = await drawVega(place, spec, {
    ast: true,
    actions: false,
    defaultStyle: false,
    renderer,
    config: { ...look(), aria: renderer === "svg" }, // a canvas has no points that could be read out
    tooltip: (handler, event, item, value) => tip(event, value && item.mark.marktype !== "line" ? item.datum : null),
    loader: { load: () => Promise.reject(new Error("this page loads nothing")) },
  });
  if (onClick) view.addEventListener("click", (event, item) => item && item.mark.marktype !== "line" && rows[item.datum?.at] && onClick(rows[item.datum.at]));
  views.set(place, { view, again: () => draw(place, specification, values, { renderer, onClick }) });
  return view;
}

function redrawAll() {
  for (const [place, { view, again }] of [...views]) {
    if (place.isConnected) again();
    else {
      view.finalize();
      views.delete(place);
    }
  }
}

function tip(event, datum) {
  const box = byId("tip");
  box.hidden = !datum || datum.at === undefined || !rows[datum.at];
  if (box.hidden) return;
  const row = rows[datum.at];
  const figures = [
    `${milliseconds(row.median_ms)} ms (${milliseconds(row.low)}–${milliseconds(row.high)}), ${fixed(1)(row.images_per_s)} images/s`,
    `${fixed(2)(row.parameters_m)} M parameters, ${fixed(1)(row.gflop)} GFLOP, ${fixed(0)(row.peak_mb)} MB`,
    `${row.measured_class}${row.speedup === null ? "" : `, ${row.speedup.toFixed(2)} × torch_eager/fp32`}`,
    several("machine") ? row.machine : "",
  ];
  box.replaceChildren(element("strong", {}, row.encoder), row.recipe, ...figures.filter(Boolean).map((text) => element("div", { class: "quiet" }, text)));
  const { clientX, clientY } = event;
  const left = Math.min(clientX + 14, innerWidth - box.offsetWidth - 8);
  const top = clientY + box.offsetHeight + 24 > innerHeight ? clientY - box.offsetHeight - 12 : clientY + 14;
  box.style.left = `${Math.max(8, left)}px`;
  box.style.top = `${top}px`;
}
