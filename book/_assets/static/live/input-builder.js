// From two typed sentences to what BERT's first layer reads: pieces, four rows of numbers, a sum.
"use strict";

customElements.define("live-input-builder", class extends ModelFigure {
  static title = "Live: build the input";
  static hint = "Choose a word and step through the longest match. Then empty sentence B, or write one word twice: " +
    "which rows and which stripes change?";

  static style = `
    .words { height: 2.6rem; margin: 0.3rem 0; }
    .words button { padding: 0 0.35rem; }
    .words [aria-pressed="true"] { background: var(--mark); }
    .tries { height: 5.8rem; margin-bottom: 0.5rem; }
    .tries li { list-style: none; padding: 0 0.3rem; border: 1px solid transparent; border-radius: 0.25rem; }
    .tries ol { display: flex; flex-wrap: wrap; margin: 0; padding: 0; }
    .tries .found { border-color: var(--accent); font-weight: 700; }
    .rows { height: 24rem; }
    .rows th, .rows td { padding: 0.05rem 0.25rem; text-align: center; font-size: 0.8rem; }
    .rows th[scope="row"] { text-align: left; position: sticky; left: 0; background: var(--surface); }
    .rows thead th { font-family: var(--mono); }
    @media (max-width: 600px) { .words { height: 4.6rem; } .tries { height: 9rem; } }
    .second { border-left: 1px dashed var(--line-strong); }
    .pad { color: var(--muted); }
    canvas { display: block; width: 100%; min-width: 1.6rem; height: 3.4rem; image-rendering: pixelated; filter: var(--invert); }
  `;

  draw(box) {
    this.word = "unwatchable";
    this.step = Infinity;
    this.padding = 3;
    const read = () => this.later();
    this.a = textField("Sentence A", "The film is unwatchable.", read).input;
    this.b = textField("Sentence B", "Disappointingly, nobody laughed.", read).input;
    this.words = h("div", { class: "words tokens", role: "group", "aria-label": "words: choose one to replay" });
    this.tries = h("div", { class: "tries scroll", tabindex: "0", role: "region", "aria-label": "the longest match, try by try" });
    const move = (text, step) => button(text, () => { this.step = step(this.step); this.showTries(); });
    const padding = slider("[PAD]", { min: 0, max: 8, value: 3 }, (count) => { this.padding = count; this.later(0); });
    this.rows = h("div", { class: "rows scroll", tabindex: "0", role: "region", "aria-label": "the input, a column for each token" });
    box.append(this.a.parentElement, this.b.parentElement, this.words,
      h("div", { class: "controls" }, move("From the start", () => 1), move("Next try", (step) => step + 1), move("To the end", () => Infinity), padding),
      this.tries, this.rows);
  }

  get state() {
    return { word: this.word, step: this.step };
  }

  set state({ word, step }) {
    this.word = String(word);
    this.step = step ?? Infinity; // in JSON there is no infinity
    this.later(0);
  }

  update() {
    const texts = [this.a.value, this.b.value];
    this.encoding = this.wordPiece.encode(texts[0], texts[1].trim() ? texts[1] : null);
    const words = [...new Set(texts.flatMap((text) => this.wordPiece.words(text)))];
    if (!words.includes(this.word)) {
      this.word = words.reduce((a, b) => (b.length > a.length ? b : a), "");
      this.step = Infinity;
    }
    this.showWords(words);
    this.showTries();
    this.showRows();
  }

  showWords(words) {
    const choose = (word) => { this.word = word; this.step = 1; this.showWords(words); this.showTries(); };
    const focused = [...this.words.children].indexOf(this.shadowRoot.activeElement);
    this.words.replaceChildren(...words.map((word) => h("button", {
      "aria-pressed": String(word === this.word), onclick: () => choose(word),
    }, word)));
    if (focused >= 0) this.words.children[focused]?.focus();
  }

  // Every attempt at the word, as the tokenizer makes it, up to the chosen step.
  showTries() {
    if (!this.wordPiece) return;
    const tried = [];
    const pieces = this.wordPiece.longestMatch(this.word, (piece) => tried.push(piece));
    this.step = Math.min(this.step, tried.length);
    const known = (piece) => this.wordPiece.vocabulary.has(piece);
    const done = this.step === tried.length;
    this.tries.replaceChildren(
      h("p", {}, `${this.word}: try ${this.step} of ${tried.length}. ${done ? `Pieces: ${pieces.join(" ")}` : ""}`),
      h("ol", { class: "tokens" }, tried.slice(0, this.step).map((piece) =>
        h("li", { class: known(piece) ? "found" : "" }, `${piece} ${known(piece) ? "✓" : "✗"}`))));
    this.tries.scrollTop = this.tries.scrollHeight;
  }

  showRows() {
    const { tokens, ids, types } = this.encoding;
    const room = this.wordPiece.maxLength - tokens.length;
    const pads = Array(Math.min(this.padding, room)).fill(0);
    const columns = [...tokens.map((token, i) => ({ token, id: ids[i], type: types[i], mask: 1 })),
      ...pads.map(() => ({ token: "[PAD]", id: 0, type: 0, mask: 0 }))];
    const second = tokens.indexOf("[SEP]") + 1;
    const kind = (i) => [i === second ? "second" : "", columns[i].mask ? "" : "pad"].join(" ").trim();
    const numbers = (name, value) => h("tr", {}, h("th", { scope: "row" }, name),
      columns.map((column, i) => h("td", { class: kind(i) }, String(value(column, i)))));
    const table = (name) => this.model.weights[`bert.embeddings.${name}_embeddings.weight`];
    const stripes = (name, vectors, limit) => h("tr", {}, h("th", { scope: "row" }, name), vectors.map((vector, i) =>
      h("td", { class: kind(i) }, this.stripes(vector, limit))));
    const sum = this.model.embed(columns.map(({ id }) => id), columns.map(({ type }) => type));
    const word = columns.map(({ id }) => table("word")[id]);
    const type = columns.map((column) => table("token_type")[column.type]);
    const place = columns.map((_, i) => table("position")[i]);
    // One scale for the three that are added, so that they can be compared.
    const limit = Math.max(...[...word, ...type, ...place].map((vector) => Math.sqrt(dot(vector, vector) / vector.length))) * 2;
    this.rows.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, h("td", {}), columns.map(({ token }, i) => h("th", { scope: "col", class: kind(i) }, token)))),
      h("tbody", {},
        numbers("number", ({ id }) => id), numbers("segment", (column) => column.type),
        numbers("position", (_, i) => i), numbers("mask", ({ mask }) => mask),
        stripes("token", word, limit), stripes("+ segment", type, limit), stripes("+ position", place, limit),
        stripes("= normalised", sum, 2))));
    this.say(`The first 24 of ${sum[0].length} numbers of each vector; blue is positive, brown negative.`);
  }

  stripes(vector, limit) {
    const canvas = h("canvas", { width: 1, height: 24, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    for (let i = 0; i < 24; i++) {
      context.globalAlpha = Math.min(1, Math.abs(vector[i]) / limit);
      context.fillStyle = vector[i] > 0 ? "#1d5a9e" : "#8a4a15";
      context.fillRect(0, i, 1, 1);
    }
    return canvas;
  }
});
