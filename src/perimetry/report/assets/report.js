"use strict";
/* The report's page: picks units on the photo and draws their fields, plots fields against depth, sorts the tables.
   It computes nothing about models; every bound comes from the data that stands in the page. Names are set as text,
   never as markup. Pixels are closed intervals: a span [low, high] is drawn from low to high + 1. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("perimetry-data").textContent);
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage"), list = byId("layers"), plot = byId("plot");
  const state = { model: 0, layer: 0, kind: "local", zoom: "field", scale: "log", point: null, unit: null };

  // --- data -----------------------------------------------------------------------------------------------------

  /* Runs (first, step, count, ...) back to numbers: the inverse of `runs` in page_data.py. */
  function unpack(encoded) {
    const numbers = [];
    for (let at = 0; at < encoded.length; at += 3) {
      for (let index = 0; index < encoded[at + 2]; index++) numbers.push(encoded[at] + index * encoded[at + 1]);
    }
    return numbers;
  }

  const unpacked = new Map();
  /* Bounds of an axis: {low, high, clippedLow, clippedHigh, units}. */
  function axisBounds(index) {
    if (!unpacked.has(index)) {
      const [low, high, clippedLow, clippedHigh] = data.axes[index].map(unpack);
      unpacked.set(index, { low, high, clippedLow, clippedHigh, units: low.length });
    }
    return unpacked.get(index);
  }

  const model = () => data.models[state.model];
  const layer = () => model().layers[state.layer];
  const planar = () => model().image.length === 2;
  const fieldOf = (which, kind) => (which[kind] === null ? null : data.fields[which[kind]]);
  const field = () => fieldOf(layer(), state.kind);
  const boundsOf = (told) => told.axes.map(axisBounds);
  const hasUnits = (told) => told !== null && told.axes.length === 2 && boundsOf(told).every((axis) => axis.units > 0);

  /* The larger size of a field; infinite for the whole image. */
  function extent(told) {
    return Math.max(...told.pixels.map((size) => (size === null ? Infinity : size)));
  }

  const centre = (axis, unit) => (axis.low[unit] + axis.high[unit] + 1) / 2;

  /* The unit whose field centre is nearest; by proportion where all units have the same centre. Ties: the first. */
  function nearest(axis, position, pixels) {
    const last = axis.units - 1;
    if (centre(axis, 0) === centre(axis, last)) {
      return Math.min(last, Math.max(0, Math.floor((position / pixels) * axis.units)));
    }
    let best = 0;
    for (let unit = 1; unit <= last; unit++) {
      if (Math.abs(centre(axis, unit) - position) < Math.abs(centre(axis, best) - position)) best = unit;
    }
    return best;
  }

  // --- small helpers --------------------------------------------------------------------------------------------

  function draw(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }

  function add(parent, name, className, text) {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }

  const minus = (number) => String(number).replaceAll("-", "\u2212");
  const span = (low, high) => (high < low ? "none" : low === high ? minus(low) : `${minus(low)} to ${minus(high)}`);

  function press(group, name, value) {
    for (const button of byId(group).querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset[name] === value));
    }
  }

  // --- the stage: photo, field, centres -------------------------------------------------------------------------

  /* The part of the plane that is drawn: the photo with a margin, and every unit's field when fitted to the field. */
  function viewBox() {
    const [height, width] = model().image;
    let [top, left, bottom, right] = [0, 0, height, width];
    const told = field();
    if (state.zoom === "field" && hasUnits(told)) {
      const [rows, columns] = boundsOf(told);
      top = Math.min(top, ...rows.low); bottom = Math.max(bottom, ...rows.high.map((pixel) => pixel + 1));
      left = Math.min(left, ...columns.low); right = Math.max(right, ...columns.high.map((pixel) => pixel + 1));
    }
    // The same scale on both axes, centred on the photo, so that the drawing does not jump from layer to layer.
    const spare = Math.max(-top / height, (bottom - height) / height, -left / width, (right - width) / width);
    const margin = spare * 1.04 + 0.06;
    return { x: -margin * width, y: -margin * height, width: width * (1 + 2 * margin), height: height * (1 + 2 * margin) };
  }

  const parts = {};

  function buildStage() {
    stage.replaceChildren();
    stage.toggleAttribute("hidden", !planar()); // SVG elements have no property of that name
    byId("zoom").hidden = !planar();
    byId("no-stage").hidden = planar();
    if (!planar()) {
      const axes = model().image.length;
      byId("no-stage").textContent = `Fields are drawn for images with two axes; this model's input has ${axes}. All numbers are given below.`;
      return;
    }
    const [height, width] = model().image;
    const photo = stage.dataset.photo;
    if (photo) {
      draw(stage, "image", { href: photo, x: 0, y: 0, width, height, preserveAspectRatio: "none", "data-testid": "photo" });
    } else {
      draw(stage, "rect", { class: "blank", width, height });
      const tile = Math.max(1, Math.min(height, width) / 8);
      let path = "";
      for (let row = 0; row * tile < height; row++) {
        for (let column = row % 2; column * tile < width; column += 2) {
          path += `M${column * tile} ${row * tile}H${Math.min(width, (column + 1) * tile)}V${Math.min(height, (row + 1) * tile)}H${column * tile}z`;
        }
      }
      draw(stage, "path", { class: "check", d: path });
    }
    parts.veil = draw(stage, "path", { class: "veil", d: "" });
    draw(stage, "rect", { class: "frame", width, height });
    parts.dotsBelow = draw(stage, "path", { class: "dots", d: "" });
    parts.dots = draw(stage, "path", { class: "dots core", d: "" });
    parts.unclipped = draw(stage, "rect", { class: "unclipped", "data-testid": "field-unclipped" });
    parts.halo = draw(stage, "rect", { class: "halo" });
    parts.clipped = draw(stage, "rect", { class: "clipped", "data-testid": "field-clipped" });
    parts.centre = draw(stage, "path", { class: "centre", "data-testid": "field-centre", d: "" });
  }

  /* Sets a rectangle to the closed spans, and notes them in data-low and data-high (rows, columns). */
  function place(rectangle, low, high) {
    const empty = high.some((pixel, axis) => pixel < low[axis]);
    rectangle.setAttribute("visibility", empty ? "hidden" : "visible");
    rectangle.dataset.low = low.join(",");
    rectangle.dataset.high = high.join(",");
    if (empty) return;
    rectangle.setAttribute("y", low[0]); rectangle.setAttribute("height", high[0] - low[0] + 1);
    rectangle.setAttribute("x", low[1]); rectangle.setAttribute("width", high[1] - low[1] + 1);
  }

  /* Marks the centres of fields; thinned out where they would be closer than a few pixels of the screen. */
  function drawCentres(told, box) {
    let path = "";
    if (hasUnits(told)) {
      const scale = (stage.clientWidth || 600) / box.width;
      const [rows, columns] = boundsOf(told);
      const thin = (axis) => {
        const spread = Math.abs(centre(axis, axis.units - 1) - centre(axis, 0)) * scale;
        return Math.max(1, Math.ceil((8 * axis.units) / Math.max(spread, 1)));
      };
      const [rowStep, columnStep] = [thin(rows), thin(columns)];
      for (let row = 0; row < rows.units; row += rowStep) {
        for (let column = 0; column < columns.units; column += columnStep) {
          path += `M${centre(columns, column)} ${centre(rows, row)}h0`;
        }
      }
    }
    parts.dots.setAttribute("d", path);
    parts.dotsBelow.setAttribute("d", path);
  }

  /* Everything that changes with the layer: what is fitted, the centres; then the unit nearest to the last point. */
  function renderLayer() {
    if (planar()) {
      const box = viewBox();
      stage.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
      drawCentres(field(), box);
    }
    pickNearest();
  }

  function pickNearest() {
    const told = field();
    if (!planar() || !hasUnits(told)) {
      state.unit = null;
    } else {
      state.unit = boundsOf(told).map((axis, index) => nearest(axis, state.point[index], model().image[index]));
    }
    renderUnit();
  }

  function renderUnit() {
    const told = field();
    if (planar()) {
      const drawn = told !== null && state.unit !== null;
      for (const name of ["unclipped", "clipped", "halo", "centre", "veil"]) {
        parts[name].style.display = drawn ? "" : "none";
      }
      stage.dataset.layer = layer().name;
      stage.dataset.kind = state.kind;
      stage.dataset.unit = drawn ? state.unit.join(",") : "";
      if (drawn) drawUnit(told);
    }
    renderReadout(told);
  }

  function drawUnit(told) {
    const axes = boundsOf(told);
    const pick = (name) => axes.map((axis, index) => axis[name][state.unit[index]]);
    const [low, high, clippedLow, clippedHigh] = [pick("low"), pick("high"), pick("clippedLow"), pick("clippedHigh")];
    place(parts.unclipped, low, high);
    place(parts.clipped, clippedLow, clippedHigh);
    place(parts.halo, clippedLow, clippedHigh);
    const [height, width] = model().image;
    const [y, x] = axes.map((axis, index) => centre(axis, state.unit[index]));
    const arm = Math.max(height, width) / 60;
    parts.centre.setAttribute("d", `M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}`);
    let hole = "";
    if (clippedHigh.every((pixel, axis) => pixel >= clippedLow[axis])) {
      hole = `M${clippedLow[1]} ${clippedLow[0]}H${clippedHigh[1] + 1}V${clippedHigh[0] + 1}H${clippedLow[1]}z`;
    }
    parts.veil.setAttribute("d", `M0 0H${width}V${height}H0z${hole}`);
  }

  // --- the numbers beside it ------------------------------------------------------------------------------------

  function renderReadout(told) {
    const chosen = layer();
    const readout = byId("readout"), sentence = byId("sentence");
    readout.replaceChildren();
    const tell = (term, value, key) => {
      const group = add(readout, "div");
      add(group, "dt", "", term);
      add(group, "dd", "", value).dataset.testid = key;
    };
    tell("layer", chosen.name, "layer");
    tell("operator", chosen.op, "operator");
    tell("output", chosen.shape, "output");
    if (told === null) {
      sentence.textContent = `${chosen.name}: the field is unknown. ${chosen.reason || ""}`;
      tell("field", "unknown", "size");
      return;
    }
    const bound = chosen.bound ? "at most " : "";
    tell(`${state.kind} field, pixels`, bound + (told.size === "image" ? "whole image" : told.size), "size");
    tell("effective stride", told.stride, "stride");
    tell("start", told.start === "" ? "\u2013" : minus(told.start), "start");
    const facts = [];
    if (state.unit !== null) {
      const [rows, columns] = boundsOf(told);
      const [row, column] = state.unit;
      const seen = [
        [rows.clippedLow[row], rows.clippedHigh[row]],
        [columns.clippedLow[column], columns.clippedHigh[column]],
      ];
      const count = seen.map(([low, high]) => Math.max(0, high - low + 1));
      const [height, width] = model().image;
      const part = (100 * count[0] * count[1]) / (height * width);
      const percent = part >= 99.95 ? "all" : part < 0.1 ? "less than 0.1 %" : `${part.toFixed(1)} %`;
      tell("unit (row, column)", `${row}, ${column} of ${rows.units} \u00d7 ${columns.units}`, "unit");
      tell("rows seen", span(...seen[0]), "rows-clipped");
      tell("columns seen", span(...seen[1]), "columns-clipped");
      tell("rows unclipped", span(rows.low[row], rows.high[row]), "rows");
      tell("columns unclipped", span(columns.low[column], columns.high[column]), "columns");
      tell("part of the image", part >= 99.95 ? "100 %" : percent, "part");
      facts.push(
        `Unit (${row}, ${column}) of ${chosen.name} sees rows ${span(...seen[0])} and columns ${span(...seen[1])}: ` +
        `${count[0]} \u00d7 ${count[1]} pixels, ${percent} of the image.`);
      if (told.size !== "image") {
        facts.push(`The ${state.kind} field is ${bound}${told.size} pixels at stride ${told.stride}, starting at ${minus(told.start)}` +
          (told.uneven ? "; units differ in size or step." : "."));
      }
    } else {
      facts.push(`${chosen.name}: ${state.kind} field ${bound}${told.size === "image" ? "the whole image" : `${told.size} pixels at stride ${told.stride}, starting at ${minus(told.start)}`}.`);
    }
    if (chosen.by && chosen.full !== chosen.local && state.kind === "full") facts.push(`Made global by ${chosen.by}.`);
    if (chosen.unproductive) facts.push("The layer sees no new context: on entry its local field already exceeds the image.");
    sentence.textContent = facts.join(" ");
  }

  // --- the list of layers ---------------------------------------------------------------------------------------

  function buildList() {
    list.replaceChildren();
    model().layers.forEach((each, index) => {
      const item = add(list, "li", each.container ? "container" : "");
      item.id = `layer-${index}`;
      item.setAttribute("role", "option");
      item.dataset.index = index;
      const told = fieldOf(each, "local");
      add(item, "span", "name", each.name);
      add(item, "span", "size", told === null ? "?" : (each.bound ? "\u2264 " : "") + told.size);
      add(item, "span", "op", each.op);
      add(item, "span", "stride", told === null || told.size === "image" ? "" : `stride ${told.stride}`);
    });
    filterList();
  }

  const shownItems = () => [...list.children].filter((item) => !item.hidden);

  function filterList() {
    const wanted = byId("filter").value.trim().toLowerCase();
    model().layers.forEach((each, index) => {
      list.children[index].hidden = !(each.name.toLowerCase().includes(wanted) || each.op.toLowerCase().includes(wanted));
    });
    const shown = shownItems().length;
    byId("count").textContent = `${shown} of ${list.children.length} rows, with local field and stride in pixels`;
  }

  /* Selects a layer everywhere: the list, the stage, the plot, the table. */
  function select(index) {
    state.layer = index;
    for (const item of list.children) item.setAttribute("aria-selected", String(Number(item.dataset.index) === index));
    const item = list.children[index];
    list.setAttribute("aria-activedescendant", item.id);
    // Scrolls the list only, never the page: to the middle when the layer is not in sight.
    const [top, bottom] = [item.offsetTop, item.offsetTop + item.offsetHeight];
    if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight) list.scrollTop = (top + bottom - list.clientHeight) / 2;
    const hasFull = layer().full !== layer().local;
    byId("kind").querySelector('[data-kind="full"]').disabled = !hasFull && state.kind === "local";
    renderLayer();
    markPlot();
    for (const row of document.querySelectorAll(`table.layers[data-model="${state.model}"] tbody tr`)) {
      if (Number(row.dataset.index) === index) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  /* The layer shown first: the largest local field that leaves room around it, so that one sees what moves. */
  function firstLayer() {
    const smallest = 0.6 * Math.min(...model().image);
    let best = 0, size = -1;
    model().layers.forEach((each, index) => {
      const told = fieldOf(each, "local");
      if (told === null || each.container) return;
      const own = extent(told);
      if (own <= smallest && own > size) { best = index; size = own; }
    });
    return best;
  }

  // --- the plot: field against depth ----------------------------------------------------------------------------

  /* Points of one model: {index, size, stride, unproductive} of layers with a local field, in order. */
  function points(which) {
    const result = [];
    which.layers.forEach((each, index) => {
      const told = fieldOf(each, "local");
      if (each.container || told === null || told.axes.length === 0) return;
      const single = told.pixels.every((size) => size === null);
      result.push({ index, name: each.name, size: extent(told), stride: single ? "" : told.stride, late: Boolean(each.unproductive), by: each.by, full: each.full !== each.local });
    });
    return result;
  }

  function linearTicks(top) {
    const rough = top / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
    const ticks = [];
    for (let tick = 0; tick <= top; tick += step) ticks.push(tick);
    return ticks;
  }

  function buildPlot() {
    plot.replaceChildren();
    const series = data.models.map(points);
    const current = series[state.model];
    byId("unproductive-caption").hidden = !current.some((each) => each.late);
    const finite = series.flat().map((each) => each.size).filter(Number.isFinite);
    if (!current.length || !finite.length) {
      add(plot, "p", "notice", "No layer of this model has a field of a known size to plot.");
      return;
    }
    const width = Math.max(320, plot.clientWidth), height = width < 560 ? 300 : 380;
    const gutter = series.flat().some((each) => each.size === Infinity) ? 26 : 8;
    const edge = { left: 44, right: 14, top: 10 + gutter, bottom: 58 };
    const image = Math.max(...model().image);
    const top = Math.max(image, ...finite) * (state.scale === "log" ? 1.25 : 1.06);
    const longest = Math.max(...series.map((each) => each.length));
    const x = (order) => edge.left + ((width - edge.left - edge.right) * (order + 0.5)) / longest;
    const floor = height - edge.bottom;
    const y = (size) => {
      if (size === Infinity) return edge.top - 14;
      const part = state.scale === "log" ? Math.log2(Math.max(size, 1)) / Math.log2(top) : size / top;
      return floor - part * (floor - edge.top);
    };
    const svg = draw(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    const largest = Math.max(...current.map((each) => (Number.isFinite(each.size) ? each.size : 0)));
    svg.setAttribute("aria-label", `Local field size against layer order for ${model().name}: up to ${largest} pixels, the image has ${model().image.join(" by ")}.`);

    const half = (x(1) - x(0)) / 2;
    for (const run of lateRuns(current)) {
      draw(svg, "rect", { class: "shade", x: x(run.first) - half, y: edge.top, width: x(run.last) - x(run.first) + 2 * half, height: floor - edge.top, "data-testid": "unproductive" });
    }
    const ticks = state.scale === "log" ? Array.from({ length: Math.floor(Math.log2(top)) + 1 }, (_, power) => 2 ** power) : linearTicks(top);
    const every = ticks.length > 9 && height < 340 ? 2 : 1;
    ticks.forEach((tick, number) => {
      draw(svg, "line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(tick), y2: y(tick) });
      if (number % every === 0) draw(svg, "text", { x: edge.left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick);
    });
    if (gutter > 8) draw(svg, "text", { x: edge.left - 7, y: y(Infinity) + 4, "text-anchor": "end" }, "whole");
    draw(svg, "line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: floor, y2: floor });
    const words = new Set();
    model().image.forEach((size, axis) => {
      const names = model().image.length === 2 ? ["height", "width"] : [];
      const same = model().image.every((each) => each === size);
      const label = same ? `image ${size}` : `image ${names[axis] || `axis ${axis}`} ${size}`;
      if (words.has(label)) return;
      words.add(label);
      draw(svg, "line", { class: "image", x1: edge.left, x2: width - edge.right, y1: y(size), y2: y(size), "data-testid": "image-line" });
      // Of two image sizes the smaller one is labelled below its line, out of the other's way.
      draw(svg, "text", { class: "strong", x: edge.left + 6, y: y(size) + (same || size === image ? -5 : 13) }, label);
    });
    const firstGlobal = current.findIndex((each) => each.by && each.full);
    if (firstGlobal >= 0) {
      const at = x(firstGlobal);
      draw(svg, "line", { class: "marker", x1: at, x2: at, y1: edge.top, y2: floor });
      const right = at > width / 2, lasting = current.slice(firstGlobal).every((each) => each.by);
      draw(svg, "text", { x: at + (right ? -6 : 6), y: floor - 8, "text-anchor": right ? "end" : "start" }, lasting ? "full field: the image from here on" : "the first full field that is the image");
    }

    strideStrip(svg, current, x, half, floor);
    series.forEach((each, number) => { if (number !== state.model) drawSeries(svg, each, number, x, y); });
    drawSeries(svg, current, state.model, x, y);
    draw(svg, "text", { x: (edge.left + width - edge.right) / 2, y: height - 6, "text-anchor": "middle" }, "layers in the order of execution; strip: effective stride");
    const dots = draw(svg, "g", { id: "points" });
    const radius = Math.min(3.2, Math.max(1.4, half * 0.9));
    current.forEach((each, order) => {
      const dot = draw(dots, "circle", { class: "point", cx: x(order), cy: y(each.size), r: radius, "data-index": each.index });
      draw(dot, "title", {}, `${each.name}: ${each.size === Infinity ? "whole image" : each.size}${each.stride ? ` at stride ${each.stride}` : ""}`);
    });
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const order = Math.floor((((event.clientX - box.left) * width) / box.width - edge.left) / (2 * half));
      const clicked = event.target.dataset.index;
      if (clicked !== undefined) select(Number(clicked));
      else if (current[order]) select(current[order].index);
    });
    markPlot();
  }

  /* Neighbours with the same value, as runs {value, first, last} of positions. */
  function runsOf(items, value) {
    const found = [];
    items.forEach((each, order) => {
      const own = value(each), last = found[found.length - 1];
      if (last && last.value === own) last.last = order;
      else found.push({ value: own, first: order, last: order });
    });
    return found;
  }

  /* Where no new context is seen: marked layers, and those between them that do not widen the field either. */
  function lateRuns(series) {
    const found = [];
    let largest = 0, widened = false;
    series.forEach((each, order) => {
      const widens = Number.isFinite(each.size) && each.size > largest;
      if (widens) largest = each.size;
      if (!each.late) { widened = widened || widens; return; }
      const last = found[found.length - 1];
      if (last && !widened) last.last = order;
      else found.push({ first: order, last: order });
      widened = false;
    });
    return found;
  }

  /* Which strides hold where; gates in between, whose units all see the same, do not break a run. */
  function strideStrip(svg, series, x, half, floor) {
    const strip = draw(svg, "g", { class: "strip" });
    let stride = "";
    const carried = series.map((each) => (stride = each.stride && each.stride !== "0" ? each.stride : stride));
    runsOf(carried, (each) => each).forEach((run, number) => {
      const left = x(run.first) - half, width = x(run.last) - x(run.first) + 2 * half;
      draw(strip, "rect", { class: number % 2 ? "band odd" : "band", x: left, y: floor + 6, width, height: 18 });
      if (run.value && width > 7 * run.value.length + 5) {
        draw(strip, "text", { class: "strong", x: left + width / 2, y: floor + 19, "text-anchor": "middle" }, run.value);
      }
    });
  }

  function drawSeries(svg, series, number, x, y) {
    let largest = 0, path = "";
    series.forEach((each, order) => {
      if (!Number.isFinite(each.size)) return;
      const before = largest;
      largest = Math.max(largest, each.size);
      if (!path) path = `M${x(order)} ${y(largest)}`;
      else path += `${largest > before ? `L${x(order)} ${y(before)}` : ""}L${x(order)} ${y(largest)}`;
    });
    draw(svg, "path", { class: `line model${number % 4}${number === state.model ? " current" : ""}`, d: path, "data-testid": "series" });
  }

  function markPlot() {
    for (const dot of plot.querySelectorAll(".point")) {
      const selected = Number(dot.dataset.index) === state.layer;
      dot.classList.toggle("selected", selected);
      if (selected) { dot.setAttribute("r", 5.5); dot.parentNode.appendChild(dot); }
      else if (dot.getAttribute("r") === "5.5") dot.setAttribute("r", 2.4);
    }
  }

  function buildLegend() {
    const legend = byId("plot-legend");
    legend.replaceChildren();
    if (data.models.length < 2) return;
    data.models.forEach((each, number) => {
      const entry = add(legend, "span", `model${number % 4}${number === state.model ? " current" : ""}`);
      const sample = draw(entry, "svg", { viewBox: "0 0 36 10", "aria-hidden": "true" });
      draw(sample, "line", { x1: 0, x2: 36, y1: 5, y2: 5 });
      entry.append(each.name);
    });
  }

  // --- sorting --------------------------------------------------------------------------------------------------

  function sortTable(button) {
    const heading = button.closest("th"), table = heading.closest("table"), body = table.tBodies[0];
    const column = [...heading.parentNode.children].indexOf(heading);
    const text = button.dataset.kind === "text";
    // Numbers start with the largest, names and the order of execution with the first.
    const first = text || button.dataset.sort === "order" ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = heading.getAttribute("aria-sort") === first ? other : first;
    for (const each of heading.parentNode.children) each.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => {
      const cell = row.cells[column];
      const value = text ? cell.textContent.trim() : cell.dataset.value;
      return { row, value: value === "" || value === undefined ? null : text ? value : Number(value), order: Number(row.dataset.index) };
    });
    keyed.sort((one, another) => {
      if (one.value === null || another.value === null) return (one.value === null) - (another.value === null) || one.order - another.order;
      const compared = text ? one.value.localeCompare(another.value, "en", { numeric: true }) : one.value - another.value;
      return sign * compared || one.order - another.order;
    });
    body.append(...keyed.map((each) => each.row));
  }

  // --- events ---------------------------------------------------------------------------------------------------

  function point(event) {
    if (!planar()) return;
    const matrix = stage.getScreenCTM();
    if (!matrix) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    state.point = [at.y, at.x];
    pickNearest();
  }
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);

  stage.addEventListener("keydown", (event) => {
    if (state.unit === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const axes = boundsOf(field());
    const [row, column] = state.unit;
    const last = axes.map((axis) => axis.units - 1);
    const moves = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [row, 0], End: [row, last[1]], PageUp: [0, column], PageDown: [last[0], column],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    state.unit = moves[event.key].map((unit, axis) => Math.min(last[axis], Math.max(0, unit)));
    state.point = axes.map((axis, index) => centre(axis, state.unit[index]));
    renderUnit();
  });

  function moveInList(event) {
    const items = shownItems();
    if (!items.length || !["ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"].includes(event.key)) return;
    if (event.target.id === "filter" && !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const at = items.findIndex((item) => Number(item.dataset.index) === state.layer);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -items.length, End: items.length };
    const to = at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + steps[event.key]));
    select(Number(items[to].dataset.index));
  }
  list.addEventListener("keydown", moveInList);
  byId("filter").addEventListener("keydown", moveInList);
  byId("filter").addEventListener("input", filterList);
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) select(Number(item.dataset.index));
  });

  byId("kind").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.kind = button.dataset.kind;
    press("kind", "kind", state.kind);
    select(state.layer);
  });
  byId("zoom").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.zoom = button.dataset.zoom;
    press("zoom", "zoom", state.zoom);
    renderLayer();
  });
  byId("scale").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.scale = button.dataset.scale;
    press("scale", "scale", state.scale);
    buildPlot();
  });

  document.addEventListener("click", (event) => {
    const sorter = event.target.closest("button[data-sort]");
    if (sorter) return sortTable(sorter);
    const link = event.target.closest("a[data-layer]");
    if (!link) return;
    const shown = Number(link.closest("table").dataset.model);
    if (shown !== state.model) chooseModel(shown);
    select(Number(link.dataset.layer));
  });

  let drawnWidth = 0;
  addEventListener("resize", () => {
    if (plot.clientWidth === drawnWidth) return;
    drawnWidth = plot.clientWidth;
    buildPlot();
    renderLayer();
  });

  function chooseModel(number) {
    state.model = number;
    const [height, width] = model().image;
    // Off the centre, so that the first field drawn crosses the photo's edge and both outlines are seen.
    state.point = [0.4 * height, 0.2 * width];
    if (byId("model-switch")) press("model-switch", "model", String(number));
    for (const section of document.querySelectorAll(".of-model")) section.hidden = Number(section.dataset.model) !== number;
    byId("filter").value = "";
    buildStage();
    buildList();
    buildLegend();
    buildPlot();
    if (model().layers.length) select(firstLayer());
  }
  if (byId("model-switch")) {
    byId("model-switch").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) chooseModel(Number(button.dataset.model));
    });
  }

  chooseModel(0);
  drawnWidth = plot.clientWidth;
})();
