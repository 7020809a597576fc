// Self-attention has no order of its own: the words of a sentence change places, with positions and without.
"use strict";

customElements.define("live-order", class extends LiveFigure {
  static title = "Live: does the order matter?";
  static hint = "Dog and man have changed places, yet no word's output differs from that in the first order, and both “the” " +
    "have the same one. Switch the positions on: now all differ, even that of bites, which stands where it stood.";

  static style = `
    [aria-pressed="true"] { background: var(--accent); color: var(--paper); }
    [aria-disabled="true"] { color: var(--muted); cursor: default; }
    .scroll { height: 16rem; }
    svg { display: block; width: 7rem; height: 2.5rem; }
    line { stroke: var(--line-strong); }
    rect { fill: var(--accent); }
    .minus { fill: var(--code-number); }
    .word { font-weight: 600; }
    .told { min-height: 4.5em; margin: 0.5rem 0 0; }
    @media (max-width: 600px) { svg { width: 3.4rem; } thead th { white-space: normal; } th, td { padding: 0.1rem 0.15rem; } .told { min-height: 9em; } .scroll { height: 17.5rem; } }
  `;

  static sentence = ["the", "dog", "bites", "the", "man"];
  static width = 8;

  draw(box) {
    const { sentence, width: D } = this.constructor;
    // Numbers of mean 0 and variance 1, the same for everybody: a generator of Park and Miller.
    let seed = 1;
    const uniform = () => (seed = (48271 * seed) % 2147483647) / 2147483647;
    const matrix = (rows, scale) => Array.from({ length: rows }, () => Array.from({ length: D }, () => scale * Math.sqrt(12) * (uniform() - 0.5)));
    const kinds = [...new Set(sentence)];
    const vectors = matrix(kinds.length, 1); // √D times a table of variance 1/D
    this.vectors = sentence.map((word) => vectors[kinds.indexOf(word)]);
    this.weights = [0, 1, 2].map(() => matrix(D, D ** -0.5)); // W_Q, W_K, W_V
    this.first = sentence.map((_, i) => i);
    this.order = [0, 4, 2, 3, 1]; // of each place: the word's place in the first order
    this.chosen = 1;
    this.words = h("div", { class: "controls", role: "group", "aria-label": "words in their order: choose one to move" },
      sentence.map((_, p) => button("", () => { this.chosen = this.order[p]; this.update(); })));
    this.left = button("← Move left", () => this.move(-1));
    this.right = button("Move right →", () => this.move(1));
    this.positions = checkBox("positions", () => this.update());
    this.table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "outputs of the words" });
    this.told = h("p", { class: "told", "aria-live": "polite" });
    box.append(this.words,
      h("div", { class: "controls" }, this.left, this.right, button("Shuffle", () => this.shuffle()),
        button("First order", () => { this.order = [...this.first]; this.update(); }), this.positions),
      this.table, this.told);
    this.update();
  }

  get state() {
    return { order: this.order, chosen: this.chosen };
  }

  set state(state) {
    const { order, chosen } = state ?? {};
    if (Array.isArray(order) && order.length === this.first.length && this.first.every((i) => order.includes(i))) this.order = [...order];
    if (this.first.includes(chosen)) this.chosen = chosen;
    this.update();
  }

  move(step) {
    const [from, to] = [this.order.indexOf(this.chosen), this.order.indexOf(this.chosen) + step];
    if (this.order[to] === undefined) return;
    [this.order[from], this.order[to]] = [this.order[to], this.order[from]];
    this.update();
  }

  shuffle() {
    const before = String(this.order);
    while (String(this.order) === before) {
      const keys = this.order.map(() => Math.random());
      this.order = [...this.first].sort((a, b) => keys[a] - keys[b]);
    }
    this.update();
  }

  // Outputs [S, D] of one head on the words in an order.
  attend(order) {
    const { width: D } = this.constructor;
    const position = (p) => Array.from({ length: D }, (_, c) => (c % 2 ? Math.cos : Math.sin)(p * 10000 ** (-(c - (c % 2)) / D)));
    const X = order.map((word, p) => this.vectors[word].map((x, c) => x + (this.positions.input.checked ? position(p)[c] : 0)));
    const dot = (a, b) => a.reduce((sum, x, l) => sum + x * b[l], 0);
    const [Q, K, V] = this.weights.map((W) => X.map((x) => W[0].map((_, c) => dot(x, W.map((row) => row[c])))));
    return Q.map((q) => {
      const powers = K.map((k) => Math.exp(dot(q, k) / Math.sqrt(D)));
      const sum = powers.reduce((a, b) => a + b);
      return V[0].map((_, c) => dot(powers, V.map((v) => v[c])) / sum);
    });
  }

  update() {
    const { sentence } = this.constructor;
    const [now, before] = [this.order, this.first].map((order) => this.attend(order));
    const changes = now.map((output, p) => Math.max(...output.map((x, c) => Math.abs(x - before[this.order[p]][c]))));
    this.outputs = now;
    const place = this.order.indexOf(this.chosen);
    [...this.words.children].forEach((button, p) => {
      button.textContent = sentence[this.order[p]];
      button.setAttribute("aria-pressed", String(p === place));
    });
    this.left.setAttribute("aria-disabled", String(place === 0));
    this.right.setAttribute("aria-disabled", String(place === sentence.length - 1));
    const heads = ["place", "word", "first place", "first output", "output now", "largest difference"];
    this.table.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, this.order.map((word, p) => h("tr", {},
        h("td", {}, String(p)), h("th", { scope: "row", class: word === this.chosen && "word" }, sentence[word]), h("td", {}, String(word)),
        h("td", {}, this.bars(before[word])), h("td", {}, this.bars(now[p])), h("td", { class: "number" }, changes[p].toFixed(3)))))));
    const largest = Math.max(...changes);
    const numbers = (output) => `(${output.map((x) => x.toFixed(2).replace("-0.00", "0.00").replace("-", "−")).join(", ")})`;
    let told = `the outputs are others than in the first order, by up to ${largest.toFixed(3)}`;
    if (largest < 1e-12) told = `every word has its output of the first order; what differs, at most ${largest.toExponential(0)}, is rounding`;
    if (largest === 0) told = "every word has its output of the first order";
    this.told.textContent = `${this.positions.input.checked ? "With" : "Without"} positions ${told}. ` +
      `Output of ${sentence[this.chosen]}: first ${numbers(before[this.chosen])}, now ${numbers(now[place])}.`;
  }

  // A vector as bars, up or down from zero, to 3: no order has more.
  bars(vector) {
    return h("svg", { viewBox: "0 0 80 40", preserveAspectRatio: "none", role: "img", "aria-label": vector.map((x) => x.toFixed(2)).join(", ") },
      h("line", { x1: 0, x2: 80, y1: 20, y2: 20 }),
      vector.map((x, c) => h("rect", { class: x < 0 && "minus", x: 10 * c + 1, width: 8, y: x < 0 ? 20 : 20 - this.height(x), height: this.height(x) })));
  }

  height(x) {
    return 6.5 * Math.min(Math.abs(x), 3);
  }
});
