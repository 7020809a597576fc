// Click a token away: what does the book's BERT put in its place, after each of its layers?
"use strict";

customElements.define("live-mask-lab", class extends ModelFigure {
  static title = "Live: hide a token";
  static hint = "Click a token to hide it. Then change a word far from it: does the guess change? " +
    "And does sentence B follow?";

  static style = `
    .tokens { height: 5.4rem; margin: 0.4rem 0; }
    .tokens button { padding: 0.1rem 0.35rem; }
    .tokens .special { border: 1px dashed; border-radius: 0.25rem; color: var(--muted); padding: 0.1rem 0.35rem; }
    .tokens [aria-pressed="true"] { background: var(--accent); color: var(--paper); }
    .guesses { height: 20.5rem; }
    .guesses td { padding: 0; }
    .guesses td > span {
      display: flex; justify-content: space-between; gap: 0.6rem; padding: 0.1rem 0.4rem;
    }
    .guesses th, .guesses td { min-width: 7.2rem; }
    .guesses tr > :first-child { min-width: 0; padding-right: 0.4rem; color: var(--muted); }
    .true { font-weight: 700; text-decoration: underline; }
    @media (max-width: 600px) { .tokens { height: 8.4rem; } }
    .verdict { min-height: 3em; margin: 0.5rem 0 0; }
  `;

  draw(box) {
    this.chosen = new Set();
    this.shown = null;
    const read = () => { this.chosen.clear(); this.shown = null; this.later(); };
    this.a = textField("Sentence A", "And it came to pass, that the king spoke to his servants.", read).input;
    this.b = textField("Sentence B", "And they said unto him, We will do it.", read).input;
    this.tokens = h("div", { class: "tokens", role: "group", "aria-label": "tokens: press to hide" });
    this.place = h("select", { onchange: () => { this.shown = Number(this.place.value); this.later(0); } });
    this.guesses = h("div", { class: "guesses scroll", tabindex: "0", role: "region", "aria-label": "guesses after each layer" });
    this.verdict = h("p", { class: "verdict", "aria-live": "polite" });
    box.append(this.a.parentElement, this.b.parentElement, this.tokens,
      h("div", { class: "controls" }, h("label", {}, "Guesses for ", this.place), this.modelChoice()), this.guesses, this.verdict);
  }

  async start() {
    await this.load();
    const example = this.encode().tokens.indexOf("pass");
    if (!this.chosen.size && example > 0) this.chosen.add(example);
    await this.update();
  }

  get state() {
    return { hidden: [...this.chosen], shown: this.shown };
  }

  set state({ hidden, shown }) {
    this.chosen = new Set(hidden);
    this.shown = shown;
    this.later(0);
  }

  encode() {
    return this.wordPiece.encode(this.a.value, this.b.value.trim() ? this.b.value : null);
  }

  async update() {
    const start = performance.now();
    const { tokens, ids, types } = this.encode();
    const special = (i) => ["[CLS]", "[SEP]"].includes(tokens[i]);
    // A [MASK] that is typed is one to guess too.
    const masked = tokens.map((token, i) => this.chosen.has(i) || token === "[MASK]");
    const mask = this.wordPiece.vocabulary.get("[MASK]");
    const { hiddenStates } = await this.pass({ ids: ids.map((id, i) => (masked[i] ? mask : id)), types });
    const places = ids.map((_, i) => i).filter((i) => masked[i]);
    if (!places.includes(this.shown)) this.shown = places.at(-1) ?? null;
    this.showTokens(tokens, special);
    this.place.replaceChildren(...places.map((i) =>
      h("option", { value: i, selected: i === this.shown }, `place ${i} (${tokens[i]})`)));
    this.place.disabled = places.length === 0;
    this.showGuesses(hiddenStates, tokens[this.shown]);
    this.verdict.textContent = this.judge(hiddenStates.at(-1));
    this.say(`${tokens.length} pieces, computed here in ${Math.round(performance.now() - start)} ms.`);
  }

  judge(states) {
    if (!this.model.weights["bert.pooler.dense.weight"]) return "This model was not trained on next sentences.";
    if (!this.b.value.trim()) return "Next sentence: type a sentence B for a verdict.";
    const [follows, not] = softmax([...this.model.nextSentence(states)]);
    return `Next sentence: the model gives "B follows A" ${percent(follows)}, "B is from elsewhere" ${percent(not)}.`;
  }

  showTokens(tokens, special) {
    const focused = [...this.tokens.children].indexOf(this.shadowRoot.activeElement);
    this.tokens.replaceChildren(...tokens.map((token, i) => {
      if (special(i)) return h("span", { class: "special" }, token);
      const hidden = this.chosen.has(i);
      const toggle = () => {
        if (hidden) this.chosen.delete(i);
        else this.chosen.add(this.shown = i);
        this.later(0);
      };
      return h("button", { "aria-pressed": String(hidden), onclick: toggle }, token);
    }));
    if (focused >= 0) this.tokens.children[focused]?.focus();
  }

  showGuesses(hiddenStates, truth) {
    if (this.shown === null) {
      this.guesses.replaceChildren(h("p", {}, "Hide a token, or type [MASK] in a sentence."));
      return;
    }
    const columns = hiddenStates.map((states) => {
      const shares = softmax([...this.model.maskedLM(states[this.shown])]);
      return shares.map((share, id) => ({ share, id })).sort((x, y) => y.share - x.share).slice(0, 10);
    });
    const cell = ({ share, id }) => {
      const piece = this.wordPiece.pieces[id];
      return h("td", {}, h("span", { class: "bar", style: `--share: ${100 * share}%` },
        h("span", { class: piece === truth ? "piece true" : "piece" }, piece), percent(share)));
    };
    const names = columns.map((_, layer) => (layer ? `after layer ${layer}` : "before layer 1"));
    this.guesses.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, h("td", {}), names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, columns[0].map((_, rank) =>
        h("tr", {}, h("th", { scope: "row" }, String(rank + 1)), columns.map((column) => cell(column[rank])))))));
  }
});
