// The lookup by hand of the chapter, with the query and the sharpness in the reader's hands.
"use strict";

customElements.define("live-soft-lookup", class extends LiveFigure {
  static title = "Live: a soft lookup";
  static hint = "It opens on the numbers above. Move β to 0, then to 8: from the plain mean to the hard lookup. " +
    "Then drag the query q until another key wins.";

  static style = `
    .parts { display: flex; flex-wrap: wrap; gap: 0.5rem 1.5rem; }
    .parts div { flex: 1 1 100%; }
    .bar { width: 6rem; }
    svg { flex: 0 1 17rem; min-width: 0; height: 15rem; user-select: none; }
    polygon { fill: var(--accent-wash); stroke: var(--line-strong); }
    circle { fill: var(--ink-soft); }
    line { stroke: var(--line-strong); }
    .query { fill: var(--accent); stroke: transparent; stroke-width: 20px; cursor: grab; }
    .output { fill: var(--code-number); }
    .answer { min-height: 3em; margin: 0.5rem 0 0; }
  `;

  static keys = [[0, 0], [Math.log(2), 0], [0, Math.log(5)]];
  static keyNames = ["(0, 0)", "(ln 2, 0)", "(0, ln 5)"];
  static values = [[8, 0], [0, 8], [8, 8]];

  draw(box) {
    this.query = [1, 1];
    this.sharpness = 1;
    const fixed = (x) => x.toFixed(1);
    const parts = [0, 1].map((i) => slider(`q${"₁₂"[i]}`, { min: -3, max: 3, step: 0.1, value: 1, show: fixed }, (x) => { this.query[i] = x; this.update(); }));
    const drag = ({ clientX, clientY }) => {
      const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(this.space.getScreenCTM().inverse());
      for (const [i, place] of [x, -y].entries()) {
        parts[i].input.value = place / 40; // a slider keeps to its range and steps
        parts[i].input.dispatchEvent(new Event("input"));
      }
    };
    this.space = h("svg", {
      viewBox: "-130 -130 260 260", role: "img", "aria-label": "The keys and the query as points.",
      onpointerdown: ({ target, pointerId }) => this.space[target.matches(".query") ? "setPointerCapture" : "releasePointerCapture"](pointerId), // a finger is captured unasked
      ontouchstart: (event) => event.target.matches(".query") && event.preventDefault(), // else the page scrolls
      onpointermove: (event) => this.space.hasPointerCapture(event.pointerId) && drag(event),
    });
    this.table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "scores and weights" });
    this.plane = h("svg", { viewBox: "-30 -20 260 240", role: "img", "aria-label": "The values as corners of a triangle, the output inside it." });
    this.answer = h("p", { class: "answer", "aria-live": "polite" });
    box.append(
      h("div", { class: "controls" }, parts,
        slider("sharpness β", { min: 0, max: 8, step: 0.1, value: 1, show: fixed }, (x) => { this.sharpness = x; this.update(); })),
      h("div", { class: "parts" }, this.table, this.space, this.plane), this.answer);
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
    this.showKeys(keys, weights);
    this.showValues(values, weights, output);
    this.answer.textContent = `Output: (${output.map((x) => x.toFixed(2)).join(", ")}), ` +
      `the mean of the values under these weights${this.sharpness ? "" : ": with β = 0 the keys do not matter"}.`;
  }

  point([cx, cy], r, attributes) {
    return h("circle", { cx, cy, r, ...attributes });
  }

  name([x, y], text, dx, dy) {
    return h("text", { x: x + dx, y: y + dy, "text-anchor": "middle" }, text);
  }

  showKeys(keys, weights) {
    const at = ([x, y]) => [x * 40, y * -40];
    const q = at(this.query);
    this.space.replaceChildren(
      h("line", { x1: -120, x2: 120 }), h("line", { y1: -120, y2: 120 }),
      ...keys.flatMap((key, i) => [this.point(at(key), 3 + 9 * weights[i]),
        this.name(at(key), `k${"₁₂₃"[i]}`, [-14, 14, -14][i], [20, 20, -4][i])]),
      this.name(q, "q", 0, -14), this.point(q, 7, { class: "query" }));
  }

  // The values span a triangle; a mean with weights that sum to one never leaves it.
  showValues(values, weights, output) {
    const at = ([x, y]) => [x * 24, 200 - y * 24];
    this.plane.replaceChildren(
      h("polygon", { points: values.map((value) => at(value).join(",")).join(" ") }),
      ...values.flatMap((value, i) => [this.point(at(value), 3 + 9 * weights[i]),
        this.name(at(value), `(${value.join(", ")})`, 0, value[1] ? -8 - 8 * weights[i] : 16 + 8 * weights[i])]),
      this.point(at(output), 7, { class: "output" }), this.name(at(output), "output", 0, 20));
  }
});
