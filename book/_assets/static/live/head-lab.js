// All heads of the book's BERT on the reader's own pair, and what is lost without one of them.
"use strict";

customElements.define("live-head-lab", class extends ModelFigure {
  static title = "Live: all 16 heads of the mini-BERT";
  static hint = "Switch this head off and see what the output loses. Then choose layer 3, head 4, which looks from " +
    "A to B most of all, and switch that one off: is the loss larger?";

  static style = `
    .parts { display: flex; flex-wrap: wrap; gap: 0.75rem 1.25rem; align-items: flex-start; }
    .heads { display: grid; grid-template-columns: auto repeat(4, 3.4rem); gap: 4px; align-items: center; font-size: 0.8rem; }
    .heads button { padding: 2px; border-width: 2px; line-height: 0; }
    .heads [aria-pressed="true"] { border-color: var(--accent); }
    .heads .off { opacity: 0.35; border-style: dashed; }
    canvas { width: 100%; aspect-ratio: 1; image-rendering: pixelated; filter: var(--invert); }
    .map { flex: 1 1 20rem; min-width: 0; height: 27rem; }
    .map th, .map td { padding: 0; font: 0.72rem/1 var(--mono); }
    .map td { min-width: 0.95rem; width: 0.95rem; height: 0.95rem; border: 1px solid var(--surface);
      background: color-mix(in srgb, var(--accent) var(--share), var(--paper)); }
    .map thead th { writing-mode: vertical-rl; transform: rotate(180deg); border: 0; padding: 2px 0; text-align: left; vertical-align: middle; }
    .map th button { padding: 0 0.2rem; border: 0; background: none; text-align: right; width: 100%; font: inherit; line-height: 1; }
    .map th [aria-pressed="true"] { background: var(--mark); }
    .map tbody th { text-align: right; }
    .legend { color: var(--muted); font-size: 0.85rem; margin: 0.3rem 0; }
    .exact, .loss { height: 6.2rem; margin: 0 0 0.5rem; }
    .exact span, .loss .tokens span { padding: 0 0.3rem; white-space: nowrap; }
    .exact p, .loss p { margin: 0 0 0.2rem; }
    @media (max-width: 600px) { .exact, .loss { height: 9rem; } .map { flex-basis: 100%; } }
  `;

  draw(box) {
    this.layer = 0;
    this.head = 0;
    this.row = 4;
    this.off = new Set();
    const read = () => this.later();
    this.a = textField("Sentence A", "The king sent his servants to the city.", read).input;
    this.b = textField("Sentence B", "They came to the city and told the king.", read).input;
    this.noSpecials = checkBox("hide [CLS] and [SEP]", () => this.show());
    this.across = checkBox("only from A to B", () => this.show());
    this.toggle = button("Switch this head off", () => this.switch());
    this.all = button("All heads on", () => { this.off.clear(); this.later(0); });
    this.heads = h("div", { class: "heads", role: "group", "aria-label": "heads: rows are layers, columns heads" });
    this.map = h("div", { class: "map scroll", tabindex: "0", role: "region", "aria-label": "weights of the chosen head" });
    this.legend = h("p", { class: "legend" }, "Rows: query (attending). Columns: key (attended to). More colour is more weight.");
    this.exact = h("div", { class: "exact scroll", tabindex: "0", role: "region", "aria-label": "exact weights of one row" });
    this.loss = h("div", { class: "loss scroll", tabindex: "0", role: "region", "aria-label": "what the output loses" });
    this.makeHeads();
    box.append(this.a.parentElement, this.b.parentElement,
      h("div", { class: "controls" }, this.noSpecials, this.across, this.toggle, this.all),
      h("div", { class: "parts" }, this.heads, this.map), this.legend, this.exact, this.loss);
  }

  makeHeads() {
    this.buttons = [0, 1, 2, 3].map((layer) => [0, 1, 2, 3].map((head) => h("button", {
      "aria-label": `layer ${layer + 1}, head ${head + 1}`,
      onclick: () => { this.layer = layer; this.head = head; this.show(); },
    }, h("canvas", { width: 1, height: 1 }))));
    this.heads.append(...this.buttons.flatMap((row, layer) => [h("span", {}, `layer ${layer + 1}`), ...row]));
  }

  switch() {
    const name = `${this.layer},${this.head}`;
    if (!this.off.delete(name)) this.off.add(name);
    this.later(0);
  }

  get state() {
    return { layer: this.layer, head: this.head, row: this.row, off: [...this.off] };
  }

  set state({ layer, head, row, off }) {
    if (!this.buttons[layer]?.[head]) return;
    Object.assign(this, { layer, head, row: Math.max(0, Math.trunc(row)) || 0, off: new Set(off) });
    this.later(0);
  }

  async update() {
    const start = performance.now();
    const encoding = this.wordPiece.encode(this.a.value, this.b.value.trim() ? this.b.value : null);
    const mask = this.buttons.map((row, layer) => row.map((_, head) => (this.off.has(`${layer},${head}`) ? 0 : 1)));
    const whole = await this.pass(encoding);
    const without = this.off.size ? await this.pass(encoding, mask) : whole;
    Object.assign(this, { encoding, whole, without });
    this.row = Math.min(this.row, encoding.tokens.length - 1);
    this.show();
    this.say(`${encoding.tokens.length} pieces, computed here in ${Math.round(performance.now() - start)} ms.`);
  }

  // What is drawn: the weights of the model as it is now, with the heads that are off.
  show() {
    if (!this.encoding) return;
    const { tokens, types } = this.encoding;
    const ordinary = (i) => !this.noSpecials.input.checked || !["[CLS]", "[SEP]"].includes(tokens[i]);
    const places = tokens.map((_, i) => i).filter(ordinary);
    const across = this.across.input.checked;
    const rows = places.filter((i) => !across || types[i] === 0);
    const columns = places.filter((i) => !across || types[i] === 1);
    this.buttons.forEach((buttons, layer) => buttons.forEach((button, head) => {
      const chosen = layer === this.layer && head === this.head;
      const off = this.off.has(`${layer},${head}`);
      button.setAttribute("aria-pressed", String(chosen));
      button.classList.toggle("off", off);
      button.setAttribute("aria-label", `layer ${layer + 1}, head ${head + 1}${off ? ", off" : ""}`);
      this.paint(button.firstChild, this.without.attentions[layer][head], rows, columns);
    }));
    const off = this.off.has(`${this.layer},${this.head}`);
    this.toggle.textContent = off ? "Switch this head on" : "Switch this head off";
    this.toggle.setAttribute("aria-pressed", String(off));
    this.all.disabled = this.off.size === 0;
    this.showMap(rows, columns);
    this.showRow(columns);
    this.showLoss();
  }

  paint(canvas, weights, rows, columns) {
    const size = Math.max(rows.length, columns.length, 1);
    Object.assign(canvas, { width: size, height: size });
    const context = canvas.getContext("2d");
    context.fillStyle = "#1d5a9e";
    rows.forEach((i, y) => columns.forEach((j, x) => {
      context.globalAlpha = weights[i][j];
      context.fillRect(x, y, 1, 1);
    }));
  }

  showMap(rows, columns) {
    const { tokens } = this.encoding;
    const weights = this.without.attentions[this.layer][this.head];
    const focused = this.shadowRoot.activeElement?.dataset.row;
    const look = (i) => h("button", {
      "data-row": i, "aria-pressed": String(i === this.row), "aria-label": `${tokens[i]}, place ${i}`,
      onclick: () => { this.row = i; this.show(); },
    }, tokens[i]);
    this.map.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, h("td", { style: "--share: 0%" }), columns.map((j) => h("th", { scope: "col" }, tokens[j])))),
      h("tbody", {}, rows.map((i) => h("tr", {}, h("th", { scope: "row" }, look(i)), columns.map((j) =>
        h("td", { style: `--share: ${(100 * weights[i][j]).toFixed(1)}%`, title: `${tokens[i]} → ${tokens[j]}: ${weights[i][j].toFixed(3)}` })))))));
    if (focused !== undefined) this.map.querySelector(`[data-row="${focused}"]`)?.focus();
  }

  showRow(columns) {
    const { tokens } = this.encoding;
    const weights = this.without.attentions[this.layer][this.head][this.row];
    const shown = columns.reduce((sum, j) => sum + weights[j], 0);
    this.exact.replaceChildren(
      h("p", {}, `Layer ${this.layer + 1}, head ${this.head + 1}: where ${tokens[this.row]} looks. Shown: ${percent(shown)} of its weight.`),
      h("div", { class: "tokens", role: "list" }, columns.map((j) =>
        h("span", { class: "bar", role: "listitem", style: `--share: ${100 * weights[j]}%` }, `${tokens[j]} ${weights[j].toFixed(3)}`))));
  }

  // One minus the cosine between a token's last state with all heads and without some.
  showLoss() {
    if (!this.off.size) {
      this.loss.replaceChildren(h("p", {}, "All heads are on."));
      return;
    }
    const [whole, without] = [this.whole, this.without].map((pass) => pass.hiddenStates.at(-1));
    const changes = whole.map((x, i) => 1 - dot(x, without[i]) / Math.sqrt(dot(x, x) * dot(without[i], without[i])));
    const mean = changes.reduce((a, b) => a + b) / changes.length;
    const largest = Math.max(...changes);
    const verdict = (states) => percent(softmax([...this.model.nextSentence(states)])[0]);
    const names = [...this.off].map((name) => name.split(",").map((i) => Number(i) + 1).join("."));
    const nsp = this.b.value.trim() ? ` "B follows A": ${verdict(whole)} before, ${verdict(without)} now.` : "";
    this.loss.replaceChildren(
      h("p", {}, `Without ${names.join(", ")} (layer.head) the last states turn by ${mean.toFixed(3)} on average ` +
        `(one minus the cosine).${nsp}`),
      h("div", { class: "tokens", role: "list" }, changes.map((change, i) =>
        h("span", { class: "bar", role: "listitem", style: `--share: ${(100 * change) / largest}%` }, `${this.encoding.tokens[i]} ${change.toFixed(3)}`))));
  }
});
