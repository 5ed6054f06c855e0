"use strict";
/* Tables that sort, sliders between weightings. The page's data lies in one JSON block. */
const DATA = JSON.parse(document.getElementById("data").textContent);

/* Headings become buttons, so that a table sorts by click and by keyboard; cells without a number come last. */
function cellKey(row, column) {
  const cell = row.cells[column];
  const value = "value" in cell.dataset ? parseFloat(cell.dataset.value) : NaN;
  return "value" in cell.dataset ? value : cell.textContent.trim();
}

function sortTable(table, column, direction) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  rows.sort((a, b) => {
    const x = cellKey(a, column), y = cellKey(b, column);
    if (typeof x === "string" || typeof y === "string") return direction * String(x).localeCompare(String(y), "en", { numeric: true });
    if (Number.isNaN(x)) return Number.isNaN(y) ? 0 : 1;
    if (Number.isNaN(y)) return -1;
    return direction * (x - y);
  });
  body.append(...rows);
  Array.from(table.tHead.rows[0].cells).forEach((head, number) => {
    if (number === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      sortTable(table, column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
    });
  });
}

/* The table of tracks shows one metric at a time. */
for (const select of document.querySelectorAll('[data-for="sequences"]')) {
  const table = document.querySelector('[data-table="sequences"]');
  select.addEventListener("change", () => {
    const name = "data-" + select.value.replaceAll("_", "-");
    for (const cell of table.querySelectorAll(`td[${name}]`)) {
      cell.dataset.value = cell.getAttribute(name);
      cell.textContent = Number(cell.dataset.value).toFixed(1);
    }
    const sorted = table.tHead.querySelector("[aria-sort]");
    if (sorted) sortTable(table, sorted.cellIndex, sorted.getAttribute("aria-sort") === "ascending" ? 1 : -1);
  });
}

function caption(element, row, text) {
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = DATA.colours[row];
  element.replaceChildren(swatch, text);
}

for (const article of document.querySelectorAll("[data-frame]")) {
  const frame = DATA.frames[Number(article.dataset.frame)];
  const part = (name) => article.querySelector(`[data-role="${name}"]`);
  const rows = DATA.rows.filter((row) => row in frame.overlays);
  const slider = part("slider");
  slider.max = String(rows.length - 1);
  slider.value = String(Math.max(0, rows.indexOf(DATA.shown)));
  const show = () => {
    const row = rows[Number(slider.value)];
    part("overlay").src = frame.overlays[row];
    part("side").src = frame.sides[row];
    caption(part("overlay-caption"), row, row);
    caption(part("side-caption"), row, row + " from the side" + (part("side-caption").dataset.truth === "yes" ? ", truth grey" : ""));
    part("chosen").textContent = row;
    slider.setAttribute("aria-valuetext", row);
  };
  slider.addEventListener("input", show);
  show();
}
