"use strict";
/* The page of maps: draws a map over the photo, tells the value one points at, hands sizes to the plot.
   It measures nothing; sizes and outlines come from the data that stands in the page. Names are set as text, never as
   markup. Pixels are closed intervals: rows [first, last] are drawn from first to last + 1. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("perimetry-data").textContent);
  const maps = data.maps;
  const byId = (id) => document.getElementById(id);
  const canvas = byId("map"), outlines = byId("outlines"), picture = byId("picture");
  // place: row and column of the map's own grid, of pixels or of patches; pixel: what the pointer is on.
  const state = { map: 0, view: "both", place: null, pixel: null };
  const current = () => maps[state.map];

  function draw(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }

  const minus = (text) => String(text).replaceAll("-", "\u2212");
  const digits = (number, count) => minus(Number(number.toPrecision(count)));

  // --- values ---------------------------------------------------------------------------------------------------

  /* Runs (first, step, count, ...) back to numbers: the inverse of `runs` in page_data.py. */
  function unpackRuns(encoded) {
    const numbers = [];
    for (let at = 0; at < encoded.length; at += 3) {
      for (let index = 0; index < encoded[at + 2]; index++) numbers.push(encoded[at] + index * encoded[at + 1]);
    }
    return numbers;
  }

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
  }

  /* A map's values, row after row: the inverse of `packed` in map_page_data.py. */
  async function unpackValues({ bits, scale, data: text }) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new DataView(await new Response(stream).arrayBuffer());
    const count = (planes.byteLength * 8) / bits, values = new Float64Array(count), one = new DataView(new ArrayBuffer(4));
    for (let index = 0; index < count; index++) {
      for (let byte = 0; byte < bits / 8; byte++) one.setUint8(byte, planes.getUint8(byte * count + index));
      values[index] = bits === 16 ? half(one.getUint16(0, true)) / scale : one.getFloat32(0, true);
    }
    return values;
  }

  const loaded = new Map();
  /* {values, pixels, tops, lefts} of a map; pixels: the mean over the patches on each, NaN where there are none. */
  function load(index) {
    if (!loaded.has(index)) loaded.set(index, unpackValues(maps[index].values).then((values) => spread(maps[index], values)));
    return loaded.get(index);
  }

  function spread(map, values) {
    const [tops, lefts] = [unpackRuns(map.tops), unpackRuns(map.lefts)];
    if (!map.patch) return { values, pixels: values, tops, lefts };
    const [height, width] = map.image, [rows, columns] = map.patch;
    const total = new Float64Array(height * width), count = new Float64Array(height * width);
    values.forEach((value, index) => {
      if (!Number.isFinite(value)) return;
      const top = tops[Math.floor(index / lefts.length)], left = lefts[index % lefts.length];
      for (let row = top; row < top + rows; row++) {
        for (let at = row * width + left; at < row * width + left + columns; at++) { total[at] += value; count[at] += 1; }
      }
    });
    return { values, pixels: total.map((sum, at) => (count[at] ? sum / count[at] : NaN)), tops, lefts };
  }

  // --- colours: the same as map_colors.py's -------------------------------------------------------------------------

  function placeOf(scale, value) {
    if (scale.high <= scale.low) return 0;
    const share = Math.min(1, Math.max(0, (value - scale.low) / (scale.high - scale.low)));
    return scale.root ? Math.sqrt(share) : share;
  }

  function mix(anchors, place, channel) {
    const at = place * (anchors.length - 1), below = Math.min(Math.floor(at), anchors.length - 2);
    return anchors[below][channel] + (at - below) * (anchors[below + 1][channel] - anchors[below][channel]);
  }

  /* The photo's pixels in the canvas's size, RGBA; null without one. */
  const photo = (async () => {
    if (!picture.dataset.photo) return null;
    const image = new Image();
    image.src = picture.dataset.photo;
    await image.decode();
    const [height, width] = maps[0].image;
    const sheet = new OffscreenCanvas(width, height).getContext("2d");
    sheet.drawImage(image, 0, 0, width, height);
    return sheet.getImageData(0, 0, width, height).data;
  })();

  function paint(map, pixels, colors) {
    const [height, width] = map.image, scale = map.scale;
    const anchors = scale.signed ? data.diverging : data.sequential;
    const sheet = canvas.getContext("2d"), sheetData = sheet.createImageData(width, height), bytes = sheetData.data;
    for (let at = 0; at < height * width; at++) {
      const value = pixels[at], place = placeOf(scale, Number.isFinite(value) ? value : 0);
      let strength = scale.signed ? 0.3 + 0.6 * Math.abs(2 * place - 1) : 0.6 + 0.3 * place;
      if (!Number.isFinite(value) || state.view === "photo") strength = 0;
      const own = colors ? [0, 1, 2].map((channel) => colors[4 * at + channel]) : [127.5, 127.5, 127.5];
      const gray = colors && state.view !== "map" ? 0.299 * own[0] + 0.587 * own[1] + 0.114 * own[2] : 127.5;
      for (let channel = 0; channel < 3; channel++) {
        const under = state.view === "photo" ? own[channel] : gray;
        bytes[4 * at + channel] = Math.round(strength * mix(anchors, place, channel) + (1 - strength) * under);
      }
      bytes[4 * at + 3] = 255;
    }
    sheet.putImageData(sheetData, 0, 0);
  }

  // --- the figure -----------------------------------------------------------------------------------------------

  function place(shapes, box) {
    for (const shape of shapes) {
      shape.setAttribute("visibility", box ? "visible" : "hidden");
      if (!box) continue;
      const [top, bottom, left, right] = box;
      for (const [name, value] of Object.entries({ x: left, y: top, width: right - left + 1, height: bottom - top + 1 })) shape.setAttribute(name, value);
    }
  }

  const boxes = (name) => outlines.querySelectorAll(`[data-box=${name}]`);
  const ofClass = (name) => outlines.querySelectorAll(`.${name}`);

  function outline(map) {
    const [height, width] = map.image;
    outlines.setAttribute("viewBox", `0 0 ${width} ${height}`);
    place(boxes("theory"), map.theory);
    place(boxes("measured"), map.measured);
    const arm = Math.max(height, width) / 45;
    const inside = map.cross && map.cross.every((at, axis) => at >= 0 && at <= map.image[axis]);
    for (const path of ofClass("cross")) {
      path.setAttribute("d", inside ? `M${map.cross[1] - arm} ${map.cross[0]}h${2 * arm}M${map.cross[1]} ${map.cross[0] - arm}v${2 * arm}` : "");
    }
    // The caption explains what is drawn, and nothing else.
    const shown = { theory: map.theory, measured: map.measured, cross: inside };
    for (const key of document.querySelectorAll("[data-key]")) key.hidden = !shown[key.dataset.key];
  }

  function drawBar(map) {
    byId("bar-colors").setAttribute("fill", `url(#bar-${map.scale.signed ? "signed" : "plain"})`);
    byId("bar").setAttribute("aria-label", `Colour bar from ${map.ticks[0][1]} to ${map.ticks[map.ticks.length - 1][1]}`);
    byId("ticks").replaceChildren();
    for (const [at, text] of map.ticks) {
      const y = `${100 - 100 * at}%`;
      draw(byId("ticks"), "line", { x1: 16, x2: 20, y1: y, y2: y });
      draw(byId("ticks"), "text", { x: 24, y, dy: ".35em" }, text);
    }
  }

  let drawn = 0;
  async function render() {
    if (!("DecompressionStream" in globalThis)) {
      byId("sentence").textContent = "This browser cannot unpack the maps (it has no DecompressionStream): the picture stays that of the first map.";
      return;
    }
    const turn = ++drawn, index = state.map;
    const [found, colors] = await Promise.all([load(index), photo]);
    if (turn !== drawn) return; // another one was chosen in the meantime
    const map = maps[index];
    if (canvas.height !== map.image[0] || canvas.width !== map.image[1]) [canvas.height, canvas.width] = map.image;
    paint(map, found.pixels, colors);
    canvas.dataset.map = index;
    canvas.dataset.view = state.view;
    picture.hidden = true;
    tell(found);
  }

  /* What stands at the place pointed at, in words, with its outline. */
  function tell(found) {
    const map = current(), sentence = byId("sentence"), at = state.place;
    place(ofClass("pointed"), null);
    canvas.dataset.place = at ? at.join(",") : "";
    canvas.dataset.value = "";
    if (!at) {
      sentence.textContent = "Point at the map to read values.";
      return;
    }
    const [row, column] = at, top = found.tops[row], left = found.lefts[column];
    const [rows, columns] = map.patch || [1, 1];
    const value = found.values[row * found.lefts.length + column];
    const of = map.largest > 0 && Number.isFinite(value) ? `, ${digits((100 * Math.abs(value)) / map.largest, 3)} % of the largest` : "";
    const told = Number.isFinite(value) ? `${map.noun} ${digits(value, map.values.bits === 16 ? 3 : 5)}${of}` : "no value";
    place(ofClass("pointed"), [top, top + rows - 1, left, left + columns - 1]);
    canvas.dataset.value = value;
    sentence.textContent = map.patch
      ? `Patch ${row}, ${column} (rows ${top} to ${top + rows - 1}, columns ${left} to ${left + columns - 1}): ${told}.`
      : `Row ${top}, column ${left}: ${told}.`;
    const pixel = state.pixel;
    if (map.patch && pixel) {
      const mean = found.pixels[pixel[0] * map.image[1] + pixel[1]];
      sentence.textContent += ` Pixel ${pixel[0]}, ${pixel[1]}: ${Number.isFinite(mean) ? `mean over its patches ${digits(mean, 5)}` : "covered by no patch"}.`;
    }
  }

  /* The entry of the grid whose middle is nearest to a pixel; ties: the first. */
  function nearest(starts, size, pixel) {
    let best = 0;
    const away = (index) => Math.abs(starts[index] + (size - 1) / 2 - pixel);
    starts.forEach((_, index) => { if (away(index) < away(best)) best = index; });
    return best;
  }

  async function point(event) {
    const box = canvas.getBoundingClientRect(), map = current(), index = state.map;
    const inside = (share, extent) => Math.min(extent - 1, Math.max(0, Math.floor(share * extent)));
    const pixel = [inside((event.clientY - box.top) / box.height, map.image[0]), inside((event.clientX - box.left) / box.width, map.image[1])];
    const found = await load(index);
    if (index !== state.map) return;
    const sizes = map.patch || [1, 1];
    state.pixel = pixel;
    state.place = [found.tops, found.lefts].map((starts, axis) => nearest(starts, sizes[axis], pixel[axis]));
    tell(found);
  }
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);

  canvas.addEventListener("keydown", async (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step], Home: [0, -Infinity], End: [0, Infinity], PageUp: [-Infinity, 0], PageDown: [Infinity, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const found = await load(state.map);
    const counts = [found.tops.length, found.lefts.length];
    const map = current(), starts = [found.tops, found.lefts], sizes = map.patch || [1, 1];
    // The first step starts from the centre of the unit's field.
    const from = map.cross || map.image.map((extent) => extent / 2);
    const at = state.place || starts.map((each, axis) => nearest(each, sizes[axis], from[axis] - 0.5));
    state.place = at.map((each, axis) => Math.min(counts[axis] - 1, Math.max(0, each + moves[event.key][axis])));
    state.pixel = null;
    tell(found);
  });

  // --- choosing -------------------------------------------------------------------------------------------------

  const ways = [...new Set(maps.map((map) => map.way))];
  const alike = (map) => maps.flatMap((other, index) => (other.model === map.model && other.unit === map.unit ? [index] : []));

  /* Selects a map everywhere: the controls, the words, the tables, the plot. */
  function select(index) {
    const before = current();
    state.map = index;
    const map = current(), same = alike(map);
    if (before.image.join() !== map.image.join() || String(before.patch) !== String(map.patch) || before.tops.join() !== map.tops.join() || before.lefts.join() !== map.lefts.join()) {
      [state.place, state.pixel] = [null, null];
    }
    for (const each of document.querySelectorAll(".of-map")) each.hidden = Number(each.dataset.map) !== index;
    if (byId("unit")) byId("unit").value = String(same[0]);
    for (const radio of document.querySelectorAll("input[name=way]")) {
      radio.checked = ways[radio.value] === map.way;
      radio.disabled = !same.some((other) => maps[other].way === ways[radio.value]);
    }
    for (const row of document.querySelectorAll(".all-maps tbody tr")) {
      if (Number(row.dataset.map) === index) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    outline(map);
    drawBar(map);
    drawPlot();
    return render();
  }

  /* Another unit, measured in the same way where there is one. */
  function selectUnit(index) {
    const same = alike(maps[index]);
    return select(same.find((other) => maps[other].way === current().way) ?? same[0]);
  }

  document.addEventListener("change", ({ target }) => {
    if (target.id === "unit") selectUnit(Number(target.value));
    if (target.name === "way") select(alike(current()).find((other) => maps[other].way === ways[target.value]));
    if (target.name === "view") { state.view = target.value; render(); }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-map]");
    if (link) select(Number(link.dataset.map));
  });

  const plot = byId("plot");
  const drawPlot = plot ? mapPlot({ maps, ways, plot, current, selectUnit, draw, digits }) : () => {};
  select(0);
})();
