// The lookup by hand of the chapter, with the query and the sharpness in the reader's hands.
"use strict";

customElements.define("live-soft-lookup", class extends LiveFigure {
  static title = "Live: a soft lookup";
  static hint = "It opens on the numbers above. Move β to 0, then to 8: from the plain mean to the hard lookup. " +
    "Then turn the query until another key wins.";

  static style = `
    .parts { display: flex; flex-wrap: wrap; gap: 0.5rem 1.5rem; align-items: center; }
    .bar { width: 6rem; }
    svg { flex: 0 1 17rem; min-width: 0; height: 15rem; }
    polygon { fill: var(--accent-wash, #eaf1f8); stroke: var(--line-strong, #b9b5aa); }
    circle { fill: var(--ink-soft, #4a4e55); }
    .output { fill: var(--code-number, #8a4a15); }
    .answer { min-height: 3em; margin: 0.5rem 0 0; }
  `;

  static keys = [[0, 0], [Math.log(2), 0], [0, Math.log(5)]];
  static keyNames = ["(0, 0)", "(ln 2, 0)", "(0, ln 5)"];
  static values = [[8, 0], [0, 8], [8, 8]];

  draw(box) {
    this.query = [1, 1];
    this.sharpness = 1;
    const fixed = (x) => x.toFixed(1);
    const part = (i) => slider(`q${"₁₂"[i]}`, { min: -3, max: 3, step: 0.1, value: 1, show: fixed }, (x) => { this.query[i] = x; this.update(); });
    this.table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "scores and weights" });
    this.plane = h("svg", { viewBox: "-30 -20 260 240", role: "img", "aria-label": "The values as corners of a triangle, the output inside it." });
    this.answer = h("p", { class: "answer", "aria-live": "polite" });
    box.append(
      h("div", { class: "controls" }, part(0), part(1),
        slider("sharpness β", { min: 0, max: 8, step: 0.1, value: 1, show: fixed }, (x) => { this.sharpness = x; this.update(); })),
      h("div", { class: "parts" }, this.table, this.plane), this.answer);
    this.update();
  }

  update() {
    const { keys, keyNames, values } = this.constructor;
    const scores = keys.map((key) => key[0] * this.query[0] + key[1] * this.query[1]);
    const powers = scores.map((score) => Math.exp(this.sharpness * score));
    const sum = powers.reduce((a, b) => a + b);
    const weights = powers.map((power) => power / sum);
    const output = [0, 1].map((d) => weights.reduce((total, weight, i) => total + weight * values[i][d], 0));
    const heads = ["key", "score q·k", "weight", "value"];
    this.table.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, keys.map((_, i) => h("tr", {}, h("th", { scope: "row" }, keyNames[i]),
        h("td", { class: "number" }, scores[i].toFixed(2)),
        h("td", { class: "number bar", style: `--share: ${100 * weights[i]}%` }, weights[i].toFixed(3)),
        h("td", {}, `(${values[i].join(", ")})`))))));
    this.showPlane(values, weights, output);
    this.answer.textContent = `Output: (${output.map((x) => x.toFixed(2)).join(", ")}), ` +
      `the mean of the values under these weights${this.sharpness ? "" : ": with β = 0 the keys do not matter"}.`;
  }

  // The values span a triangle; a mean with weights that sum to one never leaves it.
  showPlane(values, weights, output) {
    const at = ([x, y]) => [x * 24, 200 - y * 24];
    const point = (value, radius, attributes) => {
      const [cx, cy] = at(value);
      return h("circle", { cx, cy, r: radius, ...attributes });
    };
    const name = (value, text, dy) => h("text", { x: at(value)[0], y: at(value)[1] + dy, "text-anchor": "middle" }, text);
    this.plane.replaceChildren(
      h("polygon", { points: values.map((value) => at(value).join(",")).join(" ") }),
      ...values.flatMap((value, i) => [point(value, 3 + 9 * weights[i]), name(value, `(${value.join(", ")})`, value[1] ? -8 - 8 * weights[i] : 16 + 8 * weights[i])]),
      point(output, 7, { class: "output" }), name(output, "output", 20));
  }
});
