"use strict";
/* Reading values from curves and from the distribution over images. `scorePlots` and `scoreSpread` are called by score.js.
   Curves stand in the page as they were drawn by score_plots.py; only the point under the pointer is added here. */
const scoreTools = {
  draw(parent, name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  },
  /* A number as people read it: whole ones in full, others to four digits. */
  told(value) {
    if (value === null) return "unknown";
    if (typeof value === "string") return value;
    const text = Number.isInteger(value) ? String(value) : Math.abs(value) < 1e-3 ? Number(value.toPrecision(3)).toExponential() : String(Number(value.toPrecision(4)));
    return text.replaceAll("-", "\u2212");
  },
  /* Where an arrow key leads among `count` places, or undefined for other keys. */
  step(event, at, count, far = 10) {
    if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
    const to = { ArrowLeft: at - (event.shiftKey ? far : 1), ArrowRight: at + (event.shiftKey ? far : 1), Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return undefined;
    event.preventDefault();
    return Math.min(count - 1, Math.max(0, to));
  },
};

function scorePlots(plots) {
  const { told, step } = scoreTools;
  document.querySelectorAll("[data-plot]").forEach((figure) => {
    const plot = plots[Number(figure.dataset.plot)], curve = figure.querySelector(".curve"), svg = curve.querySelector("svg");
    const reading = figure.querySelector(".reading"), dot = svg.querySelector(".at"), choice = figure.querySelector(".line-choice");
    const [xName, yName, atName] = plot.names, frame = plot.frame;
    let line = 0, at = null;
    const scale = (value, [low, high], from, to) => from + ((value - low) / (high - low)) * (to - from);
    const up = (value) => (plot.log ? Math.log(value) : value);
    const place = (point) => [scale(point[0], plot.ranges[0], frame.left, frame.right), scale(up(point[1]), plot.ranges[1].map(up), frame.bottom, frame.top)];

    function show(index) {
      const { label, points, chosen, note } = plot.lines[line];
      at = index;
      dot.setAttribute("visibility", index === null ? "hidden" : "visible");
      if (index === null) {
        reading.textContent = [plot.lines.length > 1 ? label : "", note].filter(Boolean).join(": ");
        return;
      }
      const point = points[index], [x, y] = place(point);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      const name = plot.lines.length > 1 ? `${label}: ` : "", where = atName ? `at ${atName} ${told(point[2])}: ` : "";
      const mark = index === chosen && plot.chosen ? ` This is ${plot.chosen}.` : "";
      reading.textContent = `${name}${where}${xName} ${told(point[0])}, ${yName} ${told(point[1])}.${mark}`;
    }

    function choose(index) {
      line = index;
      svg.querySelectorAll("[data-line]").forEach((each) => each.classList.toggle("current", Number(each.dataset.line) === index));
      const current = svg.querySelector(".line.current");
      current.parentNode.insertBefore(current, svg.querySelector(".chosen") || dot);
      show(null);
    }

    function nearest(event) {
      const box = svg.getBoundingClientRect(), unit = frame.width / box.width;
      const x = (event.clientX - box.left) * unit, y = (event.clientY - box.top) * unit;
      let best = null, least = Infinity;
      plot.lines[line].points.forEach((point, index) => {
        const [left, top] = place(point), away = (left - x) ** 2 + (top - y) ** 2;
        if (away < least) [best, least] = [index, away];
      });
      return best;
    }

    if (choice) choice.addEventListener("change", () => choose(Number(choice.value)));
    curve.addEventListener("pointermove", (event) => show(nearest(event)));
    curve.addEventListener("pointerdown", (event) => show(nearest(event)));
    curve.addEventListener("keydown", (event) => {
      const { points, chosen } = plot.lines[line];
      const to = step(event, at === null ? (chosen ?? 0) : at, points.length);
      if (to !== undefined) show(at === null && !["Home", "End"].includes(event.key) ? (chosen ?? 0) : to);
    });
    if (choice) choice.value = "0";
    choose(0);
  });
}

/* The distribution over images: bars, a mark for each image. `pictures` tells which images have one, `open` shows it. */
function scoreSpread({ spread, pictures, unit, open }) {
  const { draw, told, step } = scoreTools;
  const host = document.getElementById("spread"), sentence = document.getElementById("spread-sentence");
  const choice = document.getElementById("spread-score");
  const MARKS = 1500; // more would be one band
  let score = spread.scores[0], order = [], at = null, places = null;

  function build() {
    score = spread.scores[Number(choice.value)];
    order = score.values.map((value, index) => index).filter((index) => score.values[index] !== null);
    order.sort((one, other) => score.values[one] - score.values[other] || one - other);
    host.replaceChildren();
    const values = order.map((index) => score.values[index]);
    // Of small counts each has a bar of its own.
    const span = values.at(-1) - values[0], each = span <= 60 && values.every(Number.isInteger);
    const [low, high] = each ? [values[0] - 0.5, values.at(-1) + 0.5] : axis(values[0], values.at(-1));
    const bins = each ? span + 1 : Math.min(40, Math.max(6, Math.ceil(Math.sqrt(values.length) * 1.6))), counts = new Array(bins).fill(0);
    const binOf = (value) => Math.min(bins - 1, Math.floor(((value - low) / (high - low)) * bins));
    for (const value of values) counts[binOf(value)]++;
    const width = Math.max(300, host.clientWidth), height = 250, left = 44, right = width - 12, top = 14, floor = 168;
    const x = (value) => left + ((value - low) / (high - low)) * (right - left);
    const tallest = Math.max(...counts), y = (count) => floor - (count / tallest) * (floor - top);
    const svg = draw(host, "svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const tick of new Set([0, Math.round(tallest / 2), tallest])) {
      draw(svg, "line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) });
      draw(svg, "text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick);
    }
    const size = (right - left) / bins;
    counts.forEach((count, bin) => {
      if (count) draw(svg, "rect", { class: "bar", "data-bin": bin, x: left + bin * size + 0.5, y: y(count), width: Math.max(size - 1, 0.5), height: floor - y(count) });
    });
    draw(svg, "path", { class: "axis", d: `M${left} ${floor}H${right}` });
    for (const value of ticksOf(low, high, width < 520 ? 4 : 7)) {
      if (each && !Number.isInteger(value)) continue;
      draw(svg, "line", { class: "axis", x1: x(value), x2: x(value), y1: floor, y2: floor + 4 });
      draw(svg, "text", { x: x(value), y: floor + 48, "text-anchor": "middle" }, told(value));
    }
    draw(svg, "text", { class: "name", x: (left + right) / 2, y: height - 10, "text-anchor": "middle" }, score.name);
    const middle = (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2;
    draw(svg, "line", { class: "median", x1: x(middle), x2: x(middle), y1: top, y2: floor + 30, "data-median": middle });
    const many = order.length > MARKS, marks = draw(svg, "g", {});
    const radius = order.length > 300 ? 2 : 3.2;
    for (const pictured of [false, true]) {
      for (const index of order) {
        if ((index in pictures) !== pictured || (many && !pictured)) continue;
        draw(marks, "circle", { class: `mark${pictured ? " pictured" : ""}`, "data-image": index, cx: x(score.values[index]), cy: floor + 17, r: pictured ? 5 : radius });
      }
    }
    draw(marks, "circle", { class: "mark current", r: 6, cy: floor + 17, visibility: "hidden" });
    places = { width, left, right, x, binOf, svg };
    const missing = spread.images.length - order.length;
    const all = score.total === null ? "" : ` All together: ${told(score.total)}.`;
    sentence.textContent = `Median ${told(middle)}, from ${told(values[0])} to ${told(values.at(-1))}.${all}${missing ? ` ${missing} without this score.` : ""}`;
    at = null;
  }

  /* Round numbers between the ends, about as many as asked for. */
  function ticksOf(low, high, wanted) {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * 0.999);
    const found = [];
    for (let tick = Math.ceil(low / step - 1e-6); tick * step <= high + step * 1e-6; tick++) found.push(Number((tick * step).toPrecision(6)));
    return found;
  }

  /* The ends of the axis: 0 to 1 where scores fill much of it, else what they span. */
  function axis(low, high) {
    if (low >= 0 && high <= 1 && high - low > 0.5) return [0, 1];
    if (low >= 0 && low < 0.35 * high) low = 0;
    const spare = high > low ? (high - low) * 0.02 : 0.5;
    return [low === 0 ? 0 : low - spare, high === 1 ? 1 : high + spare];
  }

  function show(position) {
    at = position;
    const index = order[position], value = score.values[index], dot = places.svg.querySelector(".mark.current");
    dot.setAttribute("cx", places.x(value));
    dot.setAttribute("visibility", "visible");
    places.svg.querySelectorAll(".bar").forEach((bar) => bar.classList.toggle("current", Number(bar.dataset.bin) === places.binOf(value)));
    sentence.textContent = `${spread.images[index]}: ${score.name} ${told(value)}, ${position + 1} of ${order.length} from the lowest.${index in pictures ? " Its picture stands below." : ""}`;
  }

  function nearest(event) {
    const box = places.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) * places.width) / box.width;
    let best = 0, least = Infinity;
    order.forEach((index, position) => {
      // Images with a picture are easier to hit: they are what a click can open.
      const away = Math.abs(places.x(score.values[index]) - x) - (index in pictures ? 3 : 0);
      if (away < least) [best, least] = [position, away];
    });
    return best;
  }

  const pick = () => { if (at !== null && order[at] in pictures) open(pictures[order[at]], true); };
  host.addEventListener("pointermove", (event) => show(nearest(event)));
  host.addEventListener("click", (event) => { show(nearest(event)); pick(); });
  host.addEventListener("keydown", (event) => {
    if (event.key === "Enter") return pick();
    const to = step(event, at ?? -1, order.length);
    if (to !== undefined) show(to);
  });
  choice.value = "0";
  choice.addEventListener("change", build);
  let drawnWidth = host.clientWidth;
  addEventListener("resize", () => {
    if (host.clientWidth === drawnWidth) return;
    drawnWidth = host.clientWidth;
    build();
  });
  build();
}
