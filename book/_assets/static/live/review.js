// The book's BERT as a judge of film reviews, and what each word adds to its verdict.
"use strict";

// The mini-BERT with changed matrices, W + up · down, and a new head; `model` stays as it is.
function reviewer(model, changes) {
  const weights = { ...model.weights };
  for (const [name, change] of Object.entries(changes)) {
    const [, map, part] = name.match(/(.*)\.(.*)/);
    if (part === "up") {
      const down = changes[`${map}.down`]; // [R, in]; up is [out, R]
      weights[`${map}.weight`] = weights[`${map}.weight`].map((row, o) => {
        const sum = row.slice();
        change[o].forEach((u, r) => { for (let i = 0; i < sum.length; i++) sum[i] += u * down[r][i]; });
        return sum;
      });
    } else if (part !== "down") weights[name] = change;
  }
  return Object.assign(Object.create(model), { weights });
}

// [S, D] to the log-odds, ln of P(fresh) / P(rotten). Only [CLS] is read.
function freshOdds(model, states) {
  const [y] = model.linear("bert.pooler.dense", [states[0]]); // [1, D]
  const [[rotten, fresh]] = model.linear("classifier", [y.map(Math.tanh)]);
  return fresh - rotten;
}

customElements.define("live-review", class extends ModelFigure {
  static title = "Live: a review judged";
  static hint = "Delete “wonderful”: the verdict turns. Then compare “This is a bad film.” with " +
    "“This is not a bad film.”: to this model “not” is one more word for rotten.";
  static most = 40; // words and marks
  static full = 4; // log-odds of the longest bar

  static style = `
    textarea { height: 4rem; }
    .verdict { min-height: 1.5em; margin: 0; font-weight: 600; }
    .worth { min-height: 3em; }
    .legend { color: var(--muted); font-size: 0.85rem; margin: 0 0 0.3rem; }
    .words { height: 14.5rem; }
    .words > div { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 0 1.5rem; }
    .words > div > div { display: grid; grid-template-columns: minmax(0, 1fr) 7rem 3.2rem; gap: 0.5rem; align-items: center; height: 1.6rem; }
    .words .piece { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: right; }
    .number { font-variant-numeric: tabular-nums; }
    .bar { position: relative; height: 1rem; background: linear-gradient(var(--line-strong) 0 0) center / 1px 100% no-repeat; }
    .bar i { position: absolute; inset: 0 50% 0 auto; width: var(--share); background: var(--code-number); }
    .bar .fresh { inset: 0 auto 0 50%; background: var(--accent); }
    @media (max-width: 600px) { textarea { height: 5.5rem; flex-basis: 100%; } .words { height: 19.5rem; } .verdict { min-height: 3em; } .worth { min-height: 6em; } }
  `;

  draw(box) {
    const read = () => this.later();
    this.text = h("textarea", { spellcheck: "false", oninput: read });
    this.text.value = "The plot is a mess, but the acting is wonderful.";
    this.removed = checkBox("take a word out, instead of putting [MASK] in its place", read);
    this.verdict = h("p", { class: "verdict", "aria-live": "polite" });
    this.worth = h("p", { class: "worth" });
    this.words = h("div", { class: "words scroll", tabindex: "0", role: "region", "aria-label": "what each word adds to the log-odds of fresh" });
    box.append(h("label", { class: "field" }, h("span", {}, "Review"), this.text), this.verdict, this.worth,
      h("div", { class: "controls" }, this.removed),
      h("p", { class: "legend" }, "For each word the log-odds of fresh with it, minus those without it: to the right and + it speaks for " +
        `fresh, to the left and − for rotten. A full bar is ${this.constructor.full} or more. The numbers need not add up: words act together.`),
      this.words);
  }

  // The changes are packed like a model; in place of a configuration stands what was measured.
  async load() {
    const changes = await loadOnce(this.getAttribute("review"), getBytes, (file) => new Bert(file));
    await super.load();
    this.measured = changes.config;
    this.model = reviewer(this.model, changes.weights);
  }

  async odds(ids) {
    const { hiddenStates } = await this.pass({ ids, types: ids.map(() => 0) });
    return freshOdds(this.model, hiddenStates.at(-1));
  }

  async update() {
    const start = performance.now();
    this.verdict.textContent = this.worth.textContent = "";
    this.words.replaceChildren();
    const { tokens, ids } = this.wordPiece.encode(this.text.value);
    const words = []; // places: a piece and those that continue it
    for (let i = 1; i < tokens.length - 1; i++) {
      if (tokens[i].startsWith("##") && words.length) words.at(-1).push(i);
      else words.push([i]);
    }
    const { most } = this.constructor;
    if (words.length > most) throw new Error(`The review has ${words.length} words and marks; this figure takes at most ${most}.`);
    const whole = await this.odds(ids);
    this.showVerdict(whole);
    const rows = words.map((places) => h("div", { role: "listitem" },
      h("span", { class: "piece" }, places.map((i) => tokens[i].replace(/^##/, "")).join("")), h("span", { class: "bar" }), h("span", { class: "number" }, "…")));
    this.words.replaceChildren(h("div", { role: "list" }, rows));
    const mask = this.wordPiece.vocabulary.get("[MASK]");
    for (const [n, places] of words.entries()) {
      const hit = (i) => places.includes(i);
      const without = this.removed.input.checked ? ids.filter((_, i) => !hit(i)) : ids.map((id, i) => (hit(i) ? mask : id));
      const adds = whole - await this.odds(without);
      const share = `${50 * Math.min(1, Math.abs(adds) / this.constructor.full)}%`;
      rows[n].children[1].append(h("i", { class: adds < 0 ? "rotten" : "fresh", style: `--share: ${share}` }));
      rows[n].lastChild.textContent = this.signed(adds);
    }
    this.say(`${words.length} words and marks, ${words.length + 1} passes, computed here in ${Math.round(performance.now() - start)} ms.`);
  }

  signed(x) {
    return `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`;
  }

  showVerdict(odds) {
    const fresh = 1 / (1 + Math.exp(-odds));
    this.verdict.textContent = `${odds < 0 ? "Rotten" : "Fresh"}: probability of fresh ${percent(fresh)}, of rotten ${percent(1 - fresh)}, log-odds ${this.signed(odds)}.`;
    const { reviews, accuracy, calibration } = this.measured;
    const bins = calibration.length;
    const bin = Math.min(bins - 1, Math.floor(fresh * bins));
    const { reviews: alike, was } = calibration[bin];
    this.worth.textContent = `On ${reviews} reviews of unseen films this model is right in ${percent(accuracy, 1)}. ` +
      `To ${alike} of them it gave ${(100 * bin) / bins} to ${percent((bin + 1) / bins)} fresh, as here` +
      `${alike ? `; ${percent(was)} of these were fresh` : ""}.`;
  }
});
