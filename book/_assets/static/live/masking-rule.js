// The masking rule on the reader's own text: what is selected, what the model reads, how often.
"use strict";

// Rounded, a half to the even number, and at least one: as the chapter's function.
const howMany = (tokens, rate) => {
  const up = Math.round(tokens * rate);
  return Math.max(1, up - tokens * rate === 0.5 && up % 2 ? up - 1 : up);
};

customElements.define("live-masking-rule", class extends LiveFigure {
  static title = "Live: 80/10/10 on your own text";
  static hint = "Draw again and again, or a hundred times at once: do the shares come to 80, 10 and 10 %? " +
    "Then move the rate: what changes, and what does not?";

  static style = `
    .tokens { height: 12.5rem; margin: 0.4rem 0; }
    .token { display: flex; flex-direction: column; align-items: center; padding: 0 0.3rem; border: 1px solid transparent; border-radius: 0.25rem; }
    .token small { font-size: 0.72rem; min-height: 1.4em; color: var(--ink-soft); }
    .selected { border-color: var(--accent); background: var(--accent-wash); }
    .random { border-style: dashed; }
    .kept { border-style: dotted; }
    .counts { height: 9rem; }
    svg { display: block; width: 20rem; max-width: 100%; height: 9rem; }
    svg line { stroke: var(--line-strong); stroke-dasharray: 3 3; }
    svg polyline { fill: none; stroke: var(--accent); stroke-width: 1.5; }
    svg polyline.random { stroke: var(--code-number); }
    svg polyline.kept { stroke: var(--code-string); stroke-dasharray: 5 2; }
    @media (max-width: 600px) { .counts th, .counts td { padding: 0.1rem 0.15rem; } }
  `;

  static branches = { masked: 0.8, random: 0.1, kept: 0.1 };

  draw(box) {
    this.rate = 0.15;
    const fresh = () => { this.forget(); this.attempt(() => this.roll(1)); };
    this.text = textField("Text", "In the beginning God created the heaven and the earth. And the earth was without form, and void; " +
      "and darkness was upon the face of the deep.", fresh).input;
    const rate = slider("Rate", { min: 5, max: 80, step: 5, value: 15, show: (x) => percent(x / 100) }, (x) => { this.rate = x / 100; fresh(); });
    const draw = (text, times) => button(text, () => this.attempt(() => this.roll(times)));
    this.tokens = h("div", { class: "tokens", tabindex: "0", role: "region", "aria-label": "the text after drawing" });
    this.counts = h("div", { class: "counts scroll", tabindex: "0", role: "region", "aria-label": "counts" });
    this.chart = h("svg", { viewBox: "0 0 320 144", role: "img", "aria-label": "Shares of the three branches against the number of selected tokens." });
    box.append(this.text.parentElement,
      h("div", { class: "controls" }, rate, draw("Draw again", 1), draw("Draw 100 times", 100)),
      this.tokens, this.counts, this.chart);
    this.forget();
  }

  async start() {
    this.wordPiece = await loadTokenizer(this.getAttribute("vocabulary"));
    this.roll(10);
  }

  forget() {
    this.total = { masked: 0, random: 0, kept: 0 };
    this.curve = []; // shares after each drawing, for the chart
    this.seen = 0; // tokens that could have been selected
  }

  roll(times) {
    if (!this.wordPiece) return;
    const { tokens } = this.wordPiece.encode(this.text.value);
    const places = tokens.slice(1, -1).map((_, i) => i + 1).filter((i) => !/^\[[A-Z]+\]$/.test(tokens[i]));
    let branches = [];
    for (let i = 0; i < times; i++) {
      branches = this.select(places);
      this.seen += places.length;
      for (const branch of branches) if (branch) this.total[branch]++;
      const selected = this.selected();
      if (selected) this.curve.push({ selected, ...this.total });
    }
    this.showTokens(tokens, branches);
    this.showCounts(branches);
    this.showChart();
  }

  selected() {
    return this.total.masked + this.total.random + this.total.kept;
  }

  // The number of selected tokens is rounded, as in the chapter; which ones is drawn, and what
  // becomes of each.
  select(places) {
    const order = [...places];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    const branches = [];
    for (const place of order.slice(0, howMany(order.length, this.rate))) {
      const chance = Math.random();
      branches[place] = chance < 0.8 ? "masked" : chance < 0.9 ? "random" : "kept";
    }
    return branches;
  }

  showTokens(tokens, branches) {
    const pieces = this.wordPiece.pieces;
    const drawn = () => {
      for (;;) {
        const piece = pieces[Math.floor(Math.random() * pieces.length)];
        if (!/^\[[A-Z]+\]$/.test(piece)) return piece;
      }
    };
    this.tokens.replaceChildren(...tokens.map((token, i) => {
      const branch = branches[i];
      if (!branch) return h("span", { class: "token" }, token, h("small", {}));
      const read = { masked: "[MASK]", random: drawn(), kept: token }[branch];
      return h("span", { class: `token selected ${branch}` }, read, h("small", {}, `${branch}, asked: ${token}`));
    }));
  }

  showCounts(branches) {
    const selected = this.selected();
    const share = (count, of) => (of ? percent(count / of, 1) : "–");
    const row = (name, now, count, expected) => h("tr", {}, h("th", { scope: "row" }, name),
      [now, count, share(count, selected), expected, share(count, this.seen)].map((cell) => h("td", { class: "number" }, String(cell))));
    const rows = Object.entries(this.constructor.branches).map(([branch, expected]) =>
      row(branch, branches.filter((each) => each === branch).length, this.total[branch], percent(expected)));
    const heads = ["", "now", "so far", "share", "rule", "of all"];
    this.counts.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, heads.map((head) => (head ? h("th", { scope: "col" }, head) : h("td", {}))))),
      h("tbody", {}, rows, row("selected", branches.filter(Boolean).length, selected, "100 %"))));
  }

  // Shares against the number of selected tokens, on a logarithmic axis.
  showChart() {
    const most = Math.max(100, this.curve.at(-1)?.selected ?? 0);
    const x = (selected) => 34 + (220 * Math.log(selected)) / Math.log(most);
    const y = (share) => 120 - 110 * share;
    const label = (x, y, text, anchor = "start") => h("text", { x, y, "text-anchor": anchor }, text);
    const lines = Object.keys(this.total).map((branch) => h("polyline", {
      class: branch,
      points: this.curve.map((at) => `${x(at.selected).toFixed(1)},${y(at[branch] / at.selected).toFixed(1)}`).join(" "),
    }));
    const guides = [0.8, 0.1].map((share) => h("line", { x1: 34, x2: 254, y1: y(share), y2: y(share) }));
    this.chart.replaceChildren(...guides, ...lines,
      label(30, y(1) + 4, "1", "end"), label(30, y(0) + 4, "0", "end"),
      label(258, y(0.8) + 4, "masked"), label(258, y(0.1) - 6, "random,"), label(258, y(0.1) + 8, "kept"),
      label(34, 138, "1"), label(254, 138, `${most} selected`, "end"));
  }
});
