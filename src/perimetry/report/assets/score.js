"use strict";
/* The page of scores: values of the heat table's cells, and which picture is shown with which marks. Names are set as
   text, never as markup. */
(() => {
  const data = JSON.parse(document.getElementById("perimetry-data").textContent);
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- the heat table -------------------------------------------------------------------------------------------

  const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u00a0");

  function heat({ classes, counts }) {
    const sentence = byId("heat-sentence"), tables = all(".heat"), last = classes.length - 1;
    const sums = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
    let place = null;
    const cellAt = (table, [row, column]) => table.tBodies[0].rows[row].cells[column + 1];

    function show(row, column) {
      for (const table of tables) {
        if (place) cellAt(table, place).classList.remove("current");
        cellAt(table, [row, column]).classList.add("current");
      }
      place = [row, column];
      const count = counts[row][column], part = sums[row] ? ` (${Number(((100 * count) / sums[row]).toPrecision(3))} %)` : "";
      const how = row === column ? "are told right" : `are told as ${classes[column]}`;
      sentence.textContent = `Of ${grouped(sums[row])} ${data.unit} of ${classes[row]}, ${grouped(count)}${part} ${how}.`;
    }

    for (const table of tables) {
      table.addEventListener("pointerover", (event) => {
        const cell = event.target.closest("td");
        if (cell) show(cell.parentNode.rowIndex - 1, cell.cellIndex - 1);
      });
      table.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const [row, column] = place || [0, 0];
        const to = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], Home: [row, 0], End: [row, last] }[event.key];
        if (!to) return;
        event.preventDefault();
        show(...(place ? to.map((each) => Math.min(last, Math.max(0, each))) : [0, 0]));
        cellAt(table, place).scrollIntoView({ block: "nearest", inline: "nearest" });
      });
    }
    const buttons = all("button[data-heat]");
    buttons.forEach((button) => button.addEventListener("click", () => {
      buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
      all(".heat-scroll").forEach((each) => { each.hidden = each.dataset.heat !== button.dataset.heat; });
    }));
  }

  // --- pictures -------------------------------------------------------------------------------------------------

  const articles = all(".of-picture"), chooser = byId("picture");

  function open(index, scroll = false) {
    articles.forEach((article, at) => { article.hidden = at !== index; });
    chooser.value = String(index);
    if (byId("before")) {
      byId("before").disabled = index === 0;
      byId("next").disabled = index === articles.length - 1;
    }
    if (scroll) byId("gallery").scrollIntoView({ block: "start" });
  }

  /* Bases that an image lacks (a photo that could not be read) are replaced by its first one. */
  function base(key) {
    for (const article of articles) {
      const bases = all(".base", article), found = bases.find((each) => each.dataset.base === key) || bases[0];
      bases.forEach((each) => { each.hidden = each !== found; });
    }
  }

  function mark(kind, shown) {
    for (const each of all(`.of-picture [data-kind="${kind}"]`)) {
      if (each.tagName === "IMG") each.hidden = !shown;
      else each.classList.toggle("hidden-box", !shown);
    }
  }

  if (articles.length) {
    chooser.addEventListener("change", () => open(Number(chooser.value)));
    if (byId("before")) {
      byId("before").addEventListener("click", () => open(Math.max(0, Number(chooser.value) - 1)));
      byId("next").addEventListener("click", () => open(Math.min(articles.length - 1, Number(chooser.value) + 1)));
    }
    all("#switches input").forEach((input) => input.addEventListener("change", () => {
      if (input.type === "radio") base(input.value);
      else if (input.id === "widen") all("img.over").forEach((each) => each.classList.toggle("widened", input.checked));
      else mark(input.value, input.checked);
    }));
    open(0);
  }

  if (data.confusion) heat(data.confusion);
  scorePlots(data.plots);
  if (data.distribution) scoreSpread({ spread: data.distribution, pictures: data.pictures, unit: data.unit, open });
})();
