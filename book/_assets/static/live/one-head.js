// One head from the token vectors to its output, with the sum behind each number written out.
"use strict";

customElements.define("live-one-head", class extends LiveFigure {
  static title = "Live: one head, number by number";
  static hint = "The third query has the weights 1/8, 2/8, 5/8 and the output (6, 7), as above. Point at a number below the " +
    "line, or go there by Tab and arrow keys, to see what it is made of. Then choose the causal mask: which row of weights stays?";

  static style = `
    .parts { display: flex; flex-wrap: wrap; gap: 0.6rem 1.25rem; align-items: flex-end; margin-bottom: 0.6rem; font-size: 0.9rem; }
    caption { text-align: left; white-space: nowrap; color: var(--ink-soft); }
    sub { font-size: 0.75em; line-height: 0; vertical-align: -0.2em; }
    th { min-width: 1.4rem; padding: 0 0.2rem; color: var(--muted); }
    thead th { border: 0; text-align: right; }
    tbody td { width: 3.3rem; min-width: 3.3rem; height: 1.7rem; padding: 0 0.2rem; border: 1px solid var(--line-strong); text-align: right; }
    td input[type="text"] { display: block; width: 100%; padding: 0; border: 0; background: none; text-align: right; }
    [aria-invalid="true"] { text-decoration: underline wavy var(--code-error); }
    .share { background: linear-gradient(color-mix(in srgb, var(--accent) 22%, transparent) 0 0) left / var(--share, 0) 100% no-repeat; }
    .masked { color: var(--muted); text-decoration: line-through; }
    tbody .from { background-color: var(--mark); border: 1px dashed var(--ink); color: inherit; }
    tbody .at { outline: 2px solid var(--ink); outline-offset: -2px; }
    .told { height: 5em; padding-top: 0.4rem; border-top: 1px solid var(--line-strong); }
    .told p { margin: 0; }
    @media (max-width: 600px) {
      .parts { gap: 0.6rem 0.5rem; font-size: 0.8rem; }
      th { min-width: 1.2rem; padding: 0 0.1rem; }
      tbody td { width: 2.8rem; min-width: 2.8rem; padding: 0 0.1rem; }
      .told { height: 10em; }
    }
  `;

  // 1.296 is √2 ln 2.5 and 2.276 is √2 ln 5: the exponentials of the third query's scores are 2.5, 5 and 12.5.
  static given = { X: [[1, 0], [0, 1], [1, 1]], W_Q: [[0, 1], [1, 0]], W_K: [[1.296, 0], [0, 2.276]], W_V: [[8, 0], [0, 8]] };
  // May query i look at key j? Every mask leaves every query a key.
  static masks = { none: () => true, causal: (i, j) => j <= i, "padding (token 3)": (i, j) => j < 2 };

  draw(box) {
    const { given, masks } = this.constructor;
    const change = () => this.attempt(() => this.update());
    this.cells = {};
    this.chosen = ["weights", 2, 1];
    const input = (name) => this.table(name, name, name === "X" ? "x" : "", given[name], (value, i, j) => h("td", {}, h("input", {
      type: "text", inputmode: "decimal", autocomplete: "off", maxlength: 8, value, oninput: change, "aria-label": `${name}, row ${i + 1}, column ${j + 1}` })));
    const derived = (name, caption, letter, width) => this.table(name, caption, letter, Array(3).fill(Array(width).fill()), (_, i, j) => h("td", {
      class: name === "weights" && "share", tabindex: -1, onfocus: () => this.point(this.chosen = [name, i, j]),
      onmouseenter: () => this.point([name, i, j]), onmouseleave: () => this.point(this.chosen),
      onkeydown: (event) => this.step(event, name, i, j) }));
    this.radios = Object.keys(masks).map((value, i) => h("input", { type: "radio", name: "mask", value, checked: i === 0, onchange: change }));
    const reset = () => { for (const field of box.querySelectorAll("[type=text]")) field.value = field.defaultValue; change(); };
    this.told = h("div", { class: "told", "aria-live": "polite" });
    box.append(h("div", { class: "parts" }, Object.keys(given).map(input)),
      h("div", { class: "controls", role: "radiogroup", "aria-label": "mask" }, "Mask", this.radios.map((radio) => h("label", {}, radio, ` ${radio.value}`)),
        button("The first numbers", reset)),
      this.told,
      h("div", { class: "parts" }, ["Q", "K", "V"].map((name) => derived(name, `${name} = X W_${name}`, name.toLowerCase(), 2))),
      h("div", { class: "parts" }, derived("scores", "scores Q Kᵀ / √d_k", "q", 3), derived("weights", "weights: softmax of rows", "q", 3),
        derived("output", "output: weights · V", "o", 2)));
    change();
  }

  start() {
    this.update();
  }

  get state() {
    return this.chosen;
  }

  set state(place) {
    if (!Array.isArray(place) || !place.slice(1, 3).every(Number.isInteger)) return;
    if (!this.cells[place[0]]?.[place[1]]?.[place[2]]?.hasAttribute("tabindex")) return;
    this.chosen = place;
    this.point(place);
  }

  // Letters after _ are set low.
  low(text) {
    return text.split(/_(\w)/).map((part, i) => (i % 2 ? h("sub", {}, part) : part));
  }

  table(name, caption, letter, numbers, cell) {
    const cells = numbers.map((row, i) => row.map((x, j) => cell(x, i, j)));
    const square = name === "scores" || name === "weights";
    this.cells[name] = cells;
    return h("table", { role: numbers[0][0] === undefined && "grid" }, h("caption", {}, this.low(caption)),
      square ? h("thead", {}, h("tr", {}, h("td"), cells.map((_, j) => h("th", { scope: "col" }, `k${"₁₂₃"[j]}`)))) : [],
      h("tbody", {}, cells.map((row, i) => h("tr", {}, letter ? h("th", { scope: "row" }, `${letter}${"₁₂₃"[i]}`) : [], row))));
  }

  // Arrow keys, within one matrix.
  step(event, name, i, j) {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    this.cells[name][i + down]?.[j + right]?.focus();
  }

  read(name) {
    return this.cells[name].map((row) => row.map((cell) => {
      const { value } = cell.firstChild;
      const number = value.trim() ? Number(value.replace("−", "-")) : NaN;
      const wrong = !(Math.abs(number) <= 10);
      cell.firstChild.setAttribute("aria-invalid", String(wrong));
      if (wrong) this.wrong ??= `${cell.firstChild.ariaLabel}: “${value.slice(0, 12)}” is not a number from −10 to 10. The matrices below are still the last ones.`;
      return number;
    }));
  }

  update() {
    this.wrong = null;
    const [X, W_Q, W_K, W_V] = ["X", "W_Q", "W_K", "W_V"].map((name) => this.read(name));
    if (this.wrong) throw new Error(this.wrong);
    const across = (A) => A[0].map((_, j) => A.map((row) => row[j]));
    const product = (A, B) => A.map((row) => across(B).map((column) => row.reduce((sum, x, l) => sum + x * column[l], 0)));
    const [Q, K, V] = [W_Q, W_K, W_V].map((W) => product(X, W)); // [3, 2]
    const scores = product(Q, across(K)).map((row) => row.map((s) => s / Math.SQRT2)); // [3, 3]
    this.may = this.constructor.masks[(this.radios.find((radio) => radio.checked) ?? this.radios[0]).value];
    // A number taken off a whole row changes no weight. It is, where the exponentials would be too large or small to show.
    this.off = scores.map((row, i) => {
      const largest = Math.max(...row.filter((_, j) => this.may(i, j)));
      return largest > 6 || largest < -2 ? largest : 0;
    });
    this.powers = scores.map((row, i) => row.map((s, j) => (this.may(i, j) ? Math.exp(s - this.off[i]) : 0)));
    const weights = this.powers.map((row) => row.map((power) => power / row.reduce((a, b) => a + b)));
    this.values = { X, W_Q, W_K, W_V, Q, K, V, scores, weights, output: product(weights, V) };
    for (const name of ["Q", "K", "V", "scores", "weights", "output"]) this.values[name].forEach((row, i) => row.forEach((x, j) => {
      const cell = this.cells[name][i][j];
      cell.textContent = name === "weights" ? this.weight(i, j) : this.number(x);
      if (name === "weights") cell.style.setProperty("--share", `${100 * x}%`);
      if (name === "scores") cell.classList.toggle("masked", !this.may(i, j));
    }));
    this.point(this.chosen);
  }

  number(x) {
    const digits = [10, 100, 1000].findIndex((end) => Math.abs(x) < end);
    return String(Number(x.toFixed(digits < 0 ? 0 : 3 - digits))).replace("-", "−");
  }

  weight(i, j) {
    return this.may(i, j) ? this.values.weights[i][j].toFixed(3) : "0";
  }

  // What a number is made of: [matrix, row or null, column or null] of its sources, in words, as a sum.
  origin(name, i, j) {
    const { values, powers, off } = this;
    const column = (matrix) => values[matrix].map((row) => row[j]);
    const factor = (x) => (x < 0 ? `(${this.number(x)})` : this.number(x));
    const products = (a, b) => a.map((x, l) => `${factor(x)}·${factor(b[l])}`).join(" + ");
    const [q, k] = [`q${"₁₂₃"[i]}`, `k${"₁₂₃"[j]}`];
    const result = this.cells[name][i][j].textContent;
    if (name === "scores") return [[["Q", i, null], ["K", j, null]],
      `The score of query ${q} for key ${k}: their dot product, divided by √d_k = √2.`,
      `(${products(values.Q[i], values.K[j])}) / 1.414 = ${result}${this.may(i, j) ? "" : ". The mask puts −∞ in its place."}`];
    if (name === "weights") {
      const exp = (s, l) => `exp(${this.may(i, l) ? this.number(s - off[i]) : "−∞"})`;
      const row = values.scores[i];
      return [[["scores", i, null]],
        `The weight of query ${q} on key ${k}: its exponential, as a share of its row's${off[i] ? `; ${this.number(off[i])} is taken off each score` : ""}.`,
        `${exp(row[j], j)} / (${row.map(exp).join(" + ")}) = ${powers[i][j].toFixed(2)} / (${powers[i].map((power) => power.toFixed(2)).join(" + ")}) = ${result}`];
    }
    if (name === "output") return [[["weights", i, null], ["V", null, j]],
      `The output of query ${q}, number ${j + 1}: column ${j + 1} of V, weighted by row ${i + 1} of the weights.`,
      `${column("V").map((v, l) => `${this.weight(i, l)}·${factor(v)}`).join(" + ")} = ${result}`];
    return [[["X", i, null], [`W_${name}`, null, j]],
      `${name}, row ${i + 1}, column ${j + 1}: row ${i + 1} of X times column ${j + 1} of W_${name}.`,
      `${products(values.X[i], column(`W_${name}`))} = ${result}`];
  }

  // Writes out one number, marks its sources, and leaves each matrix one cell for the Tab key.
  point([name, i, j]) {
    const [sources, words, sum] = this.origin(name, i, j);
    const [chosen, row, column] = this.chosen;
    this.told.replaceChildren(h("p", {}, this.low(words)), h("p", {}, sum));
    for (const [matrix, cells] of Object.entries(this.cells)) cells.forEach((line, r) => line.forEach((cell, c) => {
      cell.classList.toggle("at", matrix === name && r === i && c === j);
      cell.classList.toggle("from", sources.some(([m, a, b]) => m === matrix && (a ?? r) === r && (b ?? c) === c));
      if (cell.hasAttribute("tabindex")) cell.tabIndex = (matrix === chosen ? r === row && c === column : r + c === 0) ? 0 : -1;
    }));
  }
});
