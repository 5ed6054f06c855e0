"use strict";
/* Small charts in SVG: a frame with axes, then lines, points or intervals in it. */
const Charts = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const DASHES = ["12 2", "7 3", "2 3", "9 3 2 3", "4 2", "5 2 1 2 1 2", "12 5"];

  function node(name, attributes = {}, text = null) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return element;
  }

  function ticks(low, high, count) {
    const raw = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
    const found = [];
    for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9 * step; value += step) found.push(Number(value.toPrecision(12)));
    return found;
  }

  /* Axes with names; gives the functions from values to pixels. Narrow screens get fewer, larger units. */
  function frame(figure, title, options) {
    const width = Math.max(300, Math.min(options.maxWidth ?? 1140, figure.clientWidth || 640));
    const height = options.height ?? Math.round(Math.min(340, Math.max(230, width * 0.55)));
    const left = options.left ?? 52, right = 12, top = 10, bottom = 42;
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
    svg.style.maxWidth = width + "px";
    const [x0, x1] = options.x, [y0, y1] = options.y;
    const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
    const py = (y) => height - bottom - ((y - y0) / (y1 - y0 || 1)) * (height - top - bottom);
    for (const y of options.yTicks ?? ticks(y0, y1, 5)) {
      svg.append(node("line", { x1: left, x2: width - right, y1: py(y), y2: py(y), stroke: "#e2e6ea" }));
      svg.append(node("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, String(y)));
    }
    for (const x of options.xTicks ?? ticks(x0, x1, width < 480 ? 4 : 8)) {
      svg.append(node("line", { x1: px(x), x2: px(x), y1: top, y2: height - bottom, stroke: "#eef1f4" }));
      svg.append(node("text", { x: px(x), y: height - bottom + 17, "text-anchor": "middle" }, String(x)));
    }
    svg.append(node("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, stroke: "#57606a" }));
    svg.append(node("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, options.xName ?? ""));
    svg.append(node("text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, options.yName ?? ""));
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    figure.replaceChildren(caption, svg);
    return { svg, px, py };
  }

  function dash(row) {
    if (row === DATA.shown) return "";
    return DASHES[Math.max(0, DATA.rows.indexOf(row)) % DASHES.length];
  }

  function line(chart, points, row, extra = {}) {
    const drawn = points.filter(([x, y]) => x !== null && y !== null);
    if (drawn.length === 1) return dots(chart, drawn, row, 4);
    const path = drawn.map(([x, y], i) => `${i ? "L" : "M"}${chart.px(x).toFixed(1)} ${chart.py(y).toFixed(1)}`).join("");
    const element = node("path", { d: path, fill: "none", stroke: DATA.colours[row] ?? "#1b1f24", "stroke-width": row === DATA.shown ? 3 : 2, "stroke-dasharray": dash(row), "stroke-linejoin": "round", ...extra });
    element.append(node("title", {}, row));
    chart.svg.append(element);
  }

  function dots(chart, points, row, radius) {
    for (const [x, y] of points) {
      if (x === null || y === null) continue;
      chart.svg.append(node("circle", { cx: chart.px(x).toFixed(1), cy: chart.py(y).toFixed(1), r: radius, fill: DATA.colours[row] ?? "#1b1f24", "fill-opacity": radius < 3 ? 0.45 : 1 }));
    }
  }

  /* Names of the lines, each with a button's behaviour: a click hides its line and shows it again. */
  function legend(figure, rows, hidden, redraw) {
    const list = document.createElement("ul");
    list.className = "legend";
    for (const row of rows) {
      const item = document.createElement("li");
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(row);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(row); else hidden.add(row);
        redraw();
        const again = figure.querySelectorAll(".legend input")[rows.indexOf(row)];
        if (again) again.focus();
      });
      const sample = node("svg", { width: 30, height: 10, "aria-hidden": "true" });
      sample.style.cssText = "display:inline-block;width:30px;height:10px;margin:0 .5em 0 .35em";
      sample.append(node("line", { x1: 0, x2: 30, y1: 5, y2: 5, stroke: DATA.colours[row] ?? "#1b1f24", "stroke-width": row === DATA.shown ? 3 : 2, "stroke-dasharray": dash(row) }));
      label.append(box, sample, row);
      item.append(label);
      list.append(item);
    }
    figure.append(list);
  }

  function range(values, pad = 0.05) {
    const good = values.filter((v) => v !== null && Number.isFinite(v));
    const low = Math.min(...good), high = Math.max(...good);
    if (!good.length) return [0, 1];
    const margin = (high - low || Math.abs(high) || 1) * pad;
    return [low - margin, high + margin];
  }

  return { frame, line, dots, legend, range, node };
})();

const drawings = {
  headline(figure) {
    const rows = Array.from(document.querySelectorAll("#headline tbody tr")).map((tr) => ({
      row: tr.cells[0].textContent, text: tr.cells[1].querySelector("small").textContent, value: Number(tr.cells[1].dataset.value),
    }));
    if (!rows.length) return;
    const order = DATA.rows.map((name) => rows.find((one) => one.row === name)).filter(Boolean);
    const bounds = order.map((one) => one.text.match(/-?[\d.]+/g).map(Number));
    const name = Object.values(DATA.metrics)[0];
    const chart = Charts.frame(figure, `${name} and its interval`, {
      x: Charts.range(bounds.flat()), y: [order.length - 0.5, -0.5], yTicks: [], height: 60 + 26 * order.length, left: 96, xName: `${name}, mm`,
    });
    order.forEach((one, i) => {
      const colour = DATA.colours[one.row];
      chart.svg.append(Charts.node("text", { x: 90, y: chart.py(i) + 4, "text-anchor": "end" }, one.row));
      chart.svg.append(Charts.node("line", { x1: chart.px(bounds[i][0]), x2: chart.px(bounds[i][1]), y1: chart.py(i), y2: chart.py(i), stroke: colour, "stroke-width": 5, "stroke-linecap": "round" }));
      chart.svg.append(Charts.node("circle", { cx: chart.px(one.value), cy: chart.py(i), r: 6, fill: "#fff", stroke: colour, "stroke-width": 3 }));
    });
  },

  time(figure) {
    const series = DATA.series[Number(document.querySelector('[data-for="time-track"]').value)];
    const metric = document.querySelector('[data-for="time-metric"]').value;
    const rows = Object.keys(series.errors);
    const shown = rows.filter((row) => !hidden.time.has(row));
    const x = series.frame_ids;
    const values = shown.flatMap((row) => series.errors[row][metric]);
    const chart = Charts.frame(figure, `${DATA.metrics[metric]} of ${series.track} (${x.length} frames)`, {
      x: x.length > 1 ? [x[0], x[x.length - 1]] : [x[0] - 1, x[0] + 1], y: [0, Charts.range(values)[1]], xName: "frame", yName: "mm",
    });
    for (const row of shown) Charts.line(chart, series.errors[row][metric].map((value, i) => [x[i], value]), row);
    Charts.legend(figure, rows, hidden.time, () => drawings.time(figure));
  },

  reliability(figure) {
    const chart = Charts.frame(figure, "Reliability: mean OKS of the keypoints of each confidence; on the diagonal is right", {
      x: [0, 1], y: [0, 1], xName: "confidence", yName: "OKS", maxWidth: 560,
    });
    chart.svg.append(Charts.node("line", { x1: chart.px(0), y1: chart.py(0), x2: chart.px(1), y2: chart.py(1), stroke: "#6e7781", "stroke-dasharray": "4 4" }));
    const names = Object.keys(DATA.confidence.scores);
    for (const name of names.filter((one) => !hidden.reliability.has(one))) {
      const points = DATA.confidence.scores[name].reliability;
      Charts.line(chart, points.map(([c, a]) => [c, a]), name);
      Charts.dots(chart, points.map(([c, a]) => [c, a]), name, 3.5);
    }
    Charts.legend(figure, names, hidden.reliability, () => drawings.reliability(figure));
  },

  sparsification(figure) {
    const names = Object.keys(DATA.confidence.scores);
    const curves = names.map((name) => DATA.confidence.scores[name].sparsification);
    const chart = Charts.frame(figure, "Sparsification: mean 1 − OKS of what remains; the thin black line is the best order", {
      x: [0, 1], y: [0, Charts.range(curves.flat().map((p) => p[1]))[1]], xName: "least confident removed", yName: "1 − OKS", maxWidth: 560,
    });
    Charts.line(chart, DATA.confidence.best, "best", { stroke: "#1b1f24", "stroke-width": 1, "stroke-dasharray": "" });
    names.forEach((name, i) => { if (!hidden.sparsification.has(name)) Charts.line(chart, curves[i], name); });
    Charts.legend(figure, names, hidden.sparsification, () => drawings.sparsification(figure));
  },

  scatter(figure) {
    const name = document.querySelector('[data-for="scatter"]').value;
    const points = DATA.confidence.scores[name].scatter;
    const chart = Charts.frame(figure, `Confidence against OKS: ${name} (${points.length.toLocaleString("en")} keypoints)`, {
      x: [0, Math.max(1, Charts.range(points.map((p) => p[0]))[1])], y: [0, 1], xName: "confidence", yName: "OKS", maxWidth: 640,
    });
    Charts.dots(chart, points, name, 2);
  },

  convergence(figure) {
    const rows = DATA.convergence.map((one) => one.row);
    const most = Math.max(1, ...DATA.convergence.map((one) => one.most));
    const chart = Charts.frame(figure, "Share of frames that had ended after so many iterations", {
      x: [0, most], y: [0, 1], xName: "iterations", yName: "share", maxWidth: 720,
    });
    for (const one of DATA.convergence) {
      if (!hidden.convergence.has(one.row)) Charts.line(chart, one.ended.map((share, i) => [i, share]), one.row);
    }
    Charts.legend(figure, rows, hidden.convergence, () => drawings.convergence(figure));
  },
};

const hidden = { time: new Set(), reliability: new Set(), sparsification: new Set(), convergence: new Set() };

function drawCharts() {
  for (const figure of document.querySelectorAll("[data-chart]")) drawings[figure.dataset.chart](figure);
}

for (const select of document.querySelectorAll('[data-for="time-track"], [data-for="time-metric"], [data-for="scatter"]')) {
  const chart = select.dataset.for.split("-")[0];
  select.addEventListener("change", () => drawings[chart](document.querySelector(`[data-chart="${chart}"]`)));
}

drawCharts();
let chartWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== chartWidth) { chartWidth = window.innerWidth; drawCharts(); }
});
