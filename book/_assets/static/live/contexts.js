// One word in the reader's own sentences: how near are its vectors to each other, layer by layer?
"use strict";

const unit = (x) => {
  const length = Math.sqrt(dot(x, x));
  return x.map((v) => v / length);
};

customElements.define("live-contexts", class extends ModelFigure {
  static title = "Live: one word, many contexts";
  static hint = "In lines 1, 3, 5 “cast” is a noun, in 2, 4, 6 a verb. Move the layer to 0: now the nearest line has the word at the " +
    "same place. Then take “bank”, for money in 1, 3, 5, of a river in 2, 4, 6: the mini-BERT hardly parts these.";

  static style = `
    textarea { height: 10.5rem; }
    .table { height: 13.5rem; }
    .cosine { background: color-mix(in srgb, var(--accent) var(--share), var(--paper)); }
    .near { font-weight: 700; text-decoration: underline; }
    .told { min-height: 4.5em; margin: 0.4rem 0 0; }
    @media (max-width: 600px) { .told { min-height: 7.5em; } }
  `;

  static examples = {
    cast: "The cast of the film is very good.\nThey cast him out of the city.\nThe whole cast gives a fine performance.\n" +
      "And they cast him into prison.\nA very good cast cannot save the movie.\nThen the king cast the stones into the sea.",
    bank: "She paid her wages into the bank.\nHerons stood along the bank.\nThe bank refused him a second loan.\n" +
      "We tied the boat to the bank.\nA clerk at the bank counted the coins.\nWillows lean over the muddy bank.",
  };

  draw(box) {
    this.lines = [];
    this.passes = new Map();
    const { examples } = this.constructor;
    const read = () => this.later();
    const show = () => this.show();
    const word = textField("Word", "cast", read);
    this.word = word.input;
    this.text = h("textarea", { wrap: "off", spellcheck: "false", oninput: read }, examples.cast);
    const take = (name) => { this.word.value = name; this.text.value = examples[name]; this.later(0); };
    // How many layers there are, the model will tell.
    this.layer = slider("layer", { min: 0, max: 24, value: 24, show: (n) => (this.model ? String(n) : "") }, show).input;
    this.less = checkBox("less the mean of different words", show);
    this.together = checkBox("like lines together", show, true);
    this.table = h("div", { class: "table scroll", tabindex: "0", role: "region", "aria-label": "cosines between the lines" });
    this.told = h("p", { class: "told", "aria-live": "polite" });
    box.append(word, h("label", { class: "field" }, h("span", {}, "Sentences, one a line"), this.text),
      h("div", { class: "controls" }, Object.keys(examples).map((name) => button(`Take “${name}”`, () => take(name))),
        this.layer.parentElement, this.less, this.together, this.modelChoice()), this.table, this.told);
  }

  async update() {
    const start = performance.now();
    if (this.passes.model !== this.model) this.passes = Object.assign(new Map(), { model: this.model });
    const written = this.text.value.split("\n").map((text, i) => ({ text: text.trim(), number: i + 1 })).filter(({ text }) => text);
    const lines = written.slice(0, 6);
    let computed = 0;
    for (const line of lines) {
      this.find(line);
      if (line.problem) continue;
      if (!this.passes.has(line.text)) {
        this.say(`The model reads line ${line.number}.`);
        this.passes.set(line.text, (await this.pass(line.encoding)).hiddenStates);
        computed++;
      }
      line.states = this.passes.get(line.text);
    }
    this.lines = lines;
    for (const text of this.passes.keys()) if (!lines.some((line) => line.text === text)) this.passes.delete(text);
    const last = this.layer.value === this.layer.max;
    this.layer.max = this.model.config.num_hidden_layers;
    if (last) this.layer.value = this.layer.max;
    this.layer.dispatchEvent(new Event("input")); // writes its number, and shows
    const out = written.filter(({ states }) => !states).map(({ number }) => number);
    this.say(`${out.length ? `Left out: line ${out.join(", ")}${written.length > 6 ? " (six are read)" : ""}. ` : ""}` +
      `New sentences: ${computed}, computed here in ${Math.round(performance.now() - start)} ms.`, out.length > 0);
  }

  // Where the word's pieces stand first, and no piece goes on with the word.
  find(line) {
    try {
      const word = this.word.value.trim();
      const pieces = this.wordPiece.tokenize(word);
      if (!pieces.length) throw new Error("there is no word to look for");
      if (pieces.includes("[UNK]")) throw new Error(`“${word}” has a sign that the vocabulary does not know`);
      const encoding = this.wordPiece.encode(line.text);
      const inside = encoding.tokens.slice(1, -1);
      const at = 1 + inside.findIndex((_, i) => pieces.every((piece, k) => inside[i + k] === piece) && !inside[i + pieces.length]?.startsWith("##"));
      if (!at) throw new Error(`no “${word}” in line ${line.number}`);
      Object.assign(line, { word, encoding, at, end: at + pieces.length });
    } catch (error) {
      line.problem = error.message;
    }
  }

  // The mean cosine of different pieces in different sentences, [CLS] and [SEP] left out.
  baseline(found, layer) {
    const all = found.flatMap(({ encoding, states }, line) => states[layer].map((x, i) => ({ line, id: encoding.ids[i], x: unit(x) })).slice(1, -1));
    let [sum, count] = [0, 0];
    all.forEach((a, i) => all.slice(0, i).filter((b) => a.line !== b.line && a.id !== b.id).forEach((b) => {
      sum += dot(a.x, b.x);
      count++;
    }));
    return sum / (count || 1);
  }

  // Joins, again and again, the two groups of lines with the largest mean cosine.
  joined(cosines) {
    const groups = cosines.map((_, i) => [i]);
    const mean = (a, b) => a.reduce((sum, i) => b.reduce((part, j) => part + cosines[i][j], sum), 0) / (a.length * b.length);
    while (groups.length > 1) {
      const pairs = groups.flatMap((a, i) => groups.slice(i + 1).map((b) => [a, b, mean(a, b)]));
      const [a, b] = pairs.reduce((best, pair) => (pair[2] > best[2] ? pair : best));
      a.push(...groups.splice(groups.indexOf(b), 1)[0]);
    }
    return groups.flat();
  }

  show() {
    if (!this.model) return;
    const layer = Number(this.layer.value);
    const found = this.lines.filter(({ states }) => states);
    const units = found.map(({ states, at, end }) => unit(states[layer].slice(at, end).reduce(add))); // the sum points as the mean
    const cosines = units.map((x) => units.map((y) => dot(x, y)));
    const base = this.baseline(found, layer);
    const less = this.less.input.checked ? base : 0;
    const order = this.together.input.checked ? this.joined(cosines) : [...found.keys()];
    const write = (x) => x.toFixed(2).replace("-", "−");
    const rows = order.map((i) => {
      const others = [...found.keys()].filter((j) => j !== i);
      const largest = Math.max(...others.map((j) => cosines[i][j]));
      const near = others.filter((j) => cosines[i][j] > largest - 1e-5); // the equally near share the vote
      const share = (j) => (50 * Math.max(0, cosines[i][j] - base)) / (1 - base);
      const { number, encoding: { tokens }, at, end } = found[i];
      const part = (...ends) => tokens.slice(...ends).join(" ");
      return h("tr", {}, h("th", { scope: "row" }, `line ${number}`),
        order.map((j) => (i === j ? h("td", { class: "number" }, "–")
          : h("td", { class: `number cosine ${near.includes(j) ? "near" : ""}`, style: `--share: ${share(j)}%` }, write(cosines[i][j] - less)))),
        h("td", {}, near.map((j) => found[j].number).join(", ")),
        h("td", { class: "piece" }, part(1, at), h("strong", {}, ` ${part(at, end)} `), part(end, -1)));
    });
    const left = this.lines.filter(({ problem }) => problem).map(({ number, problem }) =>
      h("tr", {}, h("th", { scope: "row" }, `line ${number}`), h("td", { colspan: order.length + 2 }, problem)));
    const heads = [...order.map((i) => found[i].number), "nearest", "pieces"].map((name, i) => h("th", { scope: "col", class: i < order.length ? "number" : "" }, name));
    this.table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), heads)), h("tbody", {}, rows, left)));
    const pairs = cosines.flatMap((row, i) => row.slice(0, i));
    const mean = pairs.reduce((a, b) => a + b, 0) / pairs.length;
    this.told.textContent = found.length < 2 ? `Two lines with the word are needed; there are ${found.length}.`
      : `${layer ? `After layer ${layer}` : "At the input"}, different pieces in different sentences have a mean cosine of ${write(base)}: ` +
        `there the shading begins. Two of “${found[0].word}” have ${write(mean)}, which is ${write(mean - base)} more. Underlined: the nearest.`;
  }
});
