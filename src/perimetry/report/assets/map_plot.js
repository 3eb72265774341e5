"use strict";
/* The plot of measured against theoretical size. `mapPlot` gives the function that draws it anew for the map that is
   shown; choosing a unit in the plot calls `selectUnit` with the place of its first map. Read before maps.js. */
function mapPlot({ maps, ways, plot, current, selectUnit, draw, digits }) {
  const byId = (id) => document.getElementById(id);

  /* The units of the model that is shown, in the order of the network: {unit, side, maps by way}. */
  function unitsShown() {
    const found = new Map();
    maps.forEach((map, index) => {
      if (map.model !== current().model) return;
      if (!found.has(map.unit)) found.set(map.unit, { unit: map.unit, first: index, order: map.order, side: map.side, whole: map.whole, ways: new Map() });
      found.get(map.unit).ways.set(map.way, index);
    });
    return [...found.values()].sort((one, other) => one.order - other.order);
  }

  /* The names without the parts that all of them begin or end with, where that leaves something of each. */
  function distinct(names) {
    const parted = names.map((name) => name.split("."));
    const shortest = Math.min(...parted.map((parts) => parts.length));
    const same = (at) => parted.every((parts) => parts.at(at) === parted[0].at(at));
    let head = 0, tail = 0;
    while (head < shortest - 1 && same(head)) head++;
    while (tail < shortest - 1 - head && same(-1 - tail)) tail++;
    return parted.map((parts) => parts.slice(head, parts.length - tail).join("."));
  }

  /* A name in at most that many letters, its middle left out: the ends tell layers apart. */
  function shorten(name, most) {
    const letters = [...name];
    if (letters.length <= most) return name;
    const tail = Math.ceil((most - 1) * 0.65);
    return `${letters.slice(0, most - 1 - tail).join("")}\u2026${letters.slice(-tail).join("")}`;
  }

  function ticksOf(low, top, log) {
    if (log) return Array.from({ length: 24 }, (_, power) => 2 ** power).filter((tick) => tick >= low && tick <= top);
    const rough = top / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
    return Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => index * step);
  }

  /* One shape for each series, so that they can be told apart without their colours. */
  function mark(parent, number, x, y, r, attributes) {
    const shapes = [
      `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`, `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
      `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`, `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.2 * r}h${-2.4 * r}z`,
    ];
    return draw(parent, "path", { d: shapes[number % 4], ...attributes });
  }

  const words = (size) => (size === null ? "unknown" : `${digits(size, 4)} px`);

  function sentenceOf(entry) {
    const parts = [...entry.ways].map(([way, index]) => `${way}: ${maps[index].size === null ? "nothing measured" : words(maps[index].size)}`);
    return `${entry.unit}: in theory ${entry.whole ? "the whole image" : words(entry.side)}; ${parts.join("; ")}.`;
  }

  let entries = [], scales = null;

  function build() {
    entries = unitsShown();
    byId("plotted").hidden = entries.length < 2;
    if (entries.length < 2) return;
    plot.replaceChildren();
    const used = ways.filter((way) => entries.some((entry) => entry.ways.has(way)));
    const sizes = entries.flatMap((entry) => [entry.side, ...[...entry.ways.values()].map((index) => maps[index].size)]).filter((size) => size > 0);
    const image = Math.sqrt(current().image[0] * current().image[1]);
    const low = Math.min(image, ...sizes), high = Math.max(image, ...sizes), log = high / low > 10;
    const width = Math.max(300, plot.clientWidth);
    const slot = (width - 58) / entries.length, every = Math.ceil(15 / slot);
    const letters = width < 560 ? 12 : 18;
    const names = entries.map((entry) => entry.unit);
    const labels = (names.some((name) => name.length > letters) ? distinct(names) : names).map((name) => shorten(name, letters));
    const longest = Math.max(...labels.map((label) => [...label].length));
    const upright = longest * 6.6 + 8 > slot; // labels turn where they would touch
    const edge = { left: 44, right: 14, top: 16, bottom: upright ? longest * 4.9 + 26 : 34 };
    const height = (width < 560 ? 230 : 300) + edge.bottom, floor = height - edge.bottom;
    const [bottom, top] = log ? [low / 1.3, high * 1.3] : [0, high * 1.06];
    const part = (size) => (log ? Math.log(size / bottom) / Math.log(top / bottom) : size / top);
    const y = (size) => floor - part(size) * (floor - edge.top);
    const x = (order) => edge.left + slot * (order + 0.5);
    scales = { slot, left: edge.left, width };
    const svg = draw(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", `Theoretical and measured sizes of ${entries.length} units of ${current().model}; the image has ${current().image.join(" by ")} pixels. Table 1 holds the numbers.`);
    const chosen = entries.findIndex((entry) => entry.unit === current().unit);
    draw(svg, "rect", { class: "hovered", y: edge.top, width: slot, height: floor - edge.top, visibility: "hidden" });
    draw(svg, "rect", { class: "chosen", x: x(chosen) - slot / 2, y: edge.top, width: slot, height: floor - edge.top });
    for (const tick of ticksOf(bottom, top, log)) {
      draw(svg, "line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(tick), y2: y(tick) });
      draw(svg, "text", { x: edge.left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick);
    }
    draw(svg, "line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: floor, y2: floor });
    draw(svg, "line", { class: "image", x1: edge.left, x2: width - edge.right, y1: y(image), y2: y(image), "data-testid": "image-line" });
    const square = current().image[0] === current().image[1];
    draw(svg, "text", { class: "strong", x: edge.left + 6, y: y(image) - 5 }, square ? `image ${current().image[0]}` : `image ${current().image.join("\u00d7")} (square root of its area)`);
    entries.forEach((entry, order) => {
      if (order % every && order !== chosen) return;
      if (every > 1 && order !== chosen && Math.abs(order - chosen) < every) return;
      const at = { class: `unit${order === chosen ? " strong" : ""}`, "data-order": order };
      if (upright) Object.assign(at, { transform: `translate(${x(order) + 4} ${floor + 14}) rotate(-45)`, "text-anchor": "end" });
      else Object.assign(at, { x: x(order), y: floor + 18, "text-anchor": "middle" });
      draw(draw(svg, "text", at, labels[order]), "title", {}, entry.unit);
    });
    const radius = Math.min(4, Math.max(1.6, slot * 0.3));
    // A field that is the whole image has no size of its own: an open mark, which no line leads to.
    const series = (name, number, sizeOf, open = () => false) => {
      let path = "", pen = "M";
      const dots = draw(svg, "g", {});
      entries.forEach((entry, order) => {
        const size = sizeOf(entry);
        if (!(size > 0)) { pen = "M"; return; }
        if (open(entry)) pen = "M";
        else { path += `${pen}${x(order)} ${y(size)}`; pen = "L"; }
        mark(dots, number, x(order), y(size), radius, { class: `mark ${name}${open(entry) ? " open" : ""}`, "data-order": order, "data-size": size });
      });
      svg.insertBefore(draw(svg, "path", { class: `series ${name}`, d: path, "data-testid": "series" }), dots);
    };
    series("theory", 2, (entry) => entry.side, (entry) => entry.whole);
    used.forEach((way) => series(`s${ways.indexOf(way) % 4}`, ways.indexOf(way) % 2, (entry) => (entry.ways.has(way) ? maps[entry.ways.get(way)].size : null)));
    legendOf(used);
    byId("plot-sentence").textContent = sentenceOf(entries[chosen]);
  }

  function legendOf(used) {
    const legend = byId("plot-legend");
    legend.replaceChildren();
    const entry = (name, number, text) => {
      const item = legend.appendChild(document.createElement("span"));
      item.className = name;
      const sample = draw(item, "svg", { viewBox: "0 0 36 10", "aria-hidden": "true" });
      draw(sample, "line", { x1: 0, x2: 36, y1: 5, y2: 5 });
      mark(sample, number, 18, 5, 3.5, { class: `mark ${name}` });
      item.append(text);
    };
    entry("theory", 2, "in theory, unclipped");
    for (const way of used) entry(`s${ways.indexOf(way) % 4}`, ways.indexOf(way) % 2, `measured: ${way}`);
  }

  /* The unit under the pointer: its place among those plotted, or -1. */
  function orderAt(event) {
    const box = plot.firstElementChild.getBoundingClientRect();
    const order = Math.floor((((event.clientX - box.left) * scales.width) / box.width - scales.left) / scales.slot);
    const label = event.target.closest("[data-order]");
    return label ? Number(label.dataset.order) : order >= 0 && order < entries.length ? order : -1;
  }

  function hover(order) {
    const shade = plot.querySelector(".hovered");
    if (!shade) return;
    shade.setAttribute("visibility", order < 0 ? "hidden" : "visible");
    if (order >= 0) shade.setAttribute("x", scales.left + order * scales.slot);
    const chosen = entries.findIndex((entry) => entry.unit === current().unit);
    byId("plot-sentence").textContent = sentenceOf(entries[order < 0 ? chosen : order]);
  }

  plot.tabIndex = 0;
  plot.setAttribute("role", "application");
  plot.setAttribute("aria-label", "Plot of sizes; arrow keys select the unit before or after");
  plot.addEventListener("pointermove", (event) => hover(orderAt(event)));
  plot.addEventListener("pointerleave", () => hover(-1));
  plot.addEventListener("click", (event) => {
    const order = orderAt(event);
    if (order >= 0) selectUnit(entries[order].first);
  });
  plot.addEventListener("keydown", (event) => {
    const at = entries.findIndex((entry) => entry.unit === current().unit), last = entries.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    selectUnit(entries[Math.min(last, Math.max(0, to))].first);
  });
  let drawnWidth = plot.clientWidth;
  addEventListener("resize", () => {
    if (plot.clientWidth === drawnWidth) return;
    drawnWidth = plot.clientWidth;
    build();
  });
  return build;
}
