// Why scores are divided by the root of their width: one random query on 64 random keys.
"use strict";

customElements.define("live-score-scale", class extends LiveFigure {
  static title = "Live: the scale of the scores";
  static hint = "Move the width from 1 to 1,024 and draw again: without a scale one key takes all, with 1/d all keys " +
    "become alike. With 1/√d the picture stays.";

  static style = `
    .rows { display: grid; gap: 0.6rem; }
    .row { display: grid; grid-template-columns: minmax(0, 20rem) minmax(0, 1fr); gap: 0 1rem; align-items: center; }
    .bars { display: flex; align-items: flex-end; height: 4rem; gap: 1px; border-bottom: 1px solid var(--line-strong); }
    .bars i { flex: 1; min-height: 1px; background: var(--accent); }
    .row p { margin: 0; }
    .name { font-weight: 600; }
    @media (max-width: 600px) { .row { grid-template-columns: minmax(0, 1fr); } .row p { min-height: 1.5em; } .row .told { min-height: 4.5em; } }
  `;

  static scales = { "no scale": () => 1, "1/√d": (d) => d ** -0.5, "1/d": (d) => 1 / d };

  draw(box) {
    this.exponent = 6;
    const width = (x) => (2 ** x).toLocaleString("en");
    this.rows = h("div", { class: "rows" });
    box.append(
      h("div", { class: "controls" },
        slider("width d", { min: 0, max: 10, value: 6, show: width }, (x) => { this.exponent = x; this.update(); }),
        button("Draw again", () => { this.roll(); this.update(); })),
      this.rows);
    this.roll();
    this.update();
  }

  // Normal numbers by Box and Muller; a narrower width uses the first of them.
  roll() {
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    const vector = () => Float32Array.from({ length: 1024 }, normal);
    this.query = vector();
    this.keys = Array.from({ length: 64 }, vector);
  }

  update() {
    const d = 2 ** this.exponent;
    const raw = this.keys.map((key) => {
      let score = 0;
      for (let i = 0; i < d; i++) score += key[i] * this.query[i];
      return score;
    });
    this.rows.replaceChildren(...Object.entries(this.constructor.scales).map(([name, scale]) => this.row(name, raw.map((score) => score * scale(d)))));
  }

  row(name, scores) {
    const largest = Math.max(...scores);
    const powers = scores.map((score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b);
    const weights = powers.map((power) => power / sum).sort((a, b) => b - a);
    const mean = scores.reduce((a, b) => a + b) / scores.length;
    const spread = Math.sqrt(scores.reduce((total, score) => total + (score - mean) ** 2, 0) / scores.length);
    // The softmax's derivatives are p(1 - p) on the diagonal and -pp beside it: this is the size of all.
    const squares = weights.map((p) => p * p);
    const fourth = squares.reduce((a, b) => a + b) ** 2;
    const slope = Math.sqrt(weights.reduce((total, p) => total + (p * (1 - p)) ** 2 - p ** 4, fourth));
    const heights = weights.map((p) => h("i", { style: `height: ${100 * p}%` }));
    return h("div", { class: "row" },
      h("div", { class: "bars", role: "img", "aria-label": `${name}: the 64 weights, largest first; the largest is ${percent(weights[0])}` }, heights),
      h("div", {}, h("p", { class: "name" }, name),
        h("p", { class: "told" }, `best of 64 keys ${percent(weights[0])}, spread of the scores ${spread.toFixed(2)}, size of the gradient ‖J‖ ${slope.toFixed(3)}`)));
  }
});
