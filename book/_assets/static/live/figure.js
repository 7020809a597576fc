// What all live figures share: a shadow root, which the theme's styles do not reach, and the model,
// which is loaded when a figure comes near the screen, once for a page.
"use strict";

const loaded = new Map();

// `make` turns a file into what is kept, once for a page.
function loadOnce(address, get, make) {
  if (!loaded.has(address)) {
    const model = get(address).then((file) => {
      try { return make(file); } catch (error) { throw failed(address, `: ${error.message}`); }
    });
    model.catch(() => loaded.delete(address)); // the next figure may try again
    loaded.set(address, model);
  }
  return loaded.get(address);
}

const failed = (address, why = "") => new Error(`The file ${address} could not be loaded${why}.`);

// A script that leaves its data in `window.bertFiles`, under the end of its address: "mini_bert/vocabulary".
function getScript(address) {
  const name = address.match(/[^/]+\/[^/]+(?=\.js)/)[0];
  return new Promise((resolve, reject) => {
    const script = h("script", { src: address });
    script.onload = () => {
      const data = window.bertFiles?.[name];
      if (data === undefined) reject(failed(address, " whole"));
      else resolve(data);
      delete window.bertFiles?.[name];
      script.remove();
    };
    script.onerror = () => reject(failed(address));
    document.head.append(script);
  });
}

// Bytes from a server. Where the book was opened from a folder, which may not fetch, a script has them.
async function getBytes(address) {
  if (location.protocol === "file:") {
    const binary = atob(await getScript(address.replace(".bin", ".js")));
    return Uint8Array.from(binary, (char) => char.charCodeAt(0)).buffer;
  }
  const answer = await fetch(address).catch(() => { throw failed(address); });
  if (!answer.ok) throw failed(address, `: ${answer.status}`);
  return answer.arrayBuffer().catch(() => { throw failed(address, " whole"); });
}

const loadTokenizer = (address) => loadOnce(address, getScript, (file) => new WordPieceTokenizer(file));

// Lets the page answer the reader, if it has been kept busy for a while.
async function pause() {
  if (performance.now() - pause.last < 12) return;
  await new Promise((resolve) => setTimeout(resolve));
  pause.last = performance.now();
}
pause.last = 0;

class Superseded extends Error {}

// An element with attributes (those named on… are listeners) and children. Text stays text.
function h(tag, attributes = {}, ...children) {
  const element = document.createElementNS(
    h.svg.has(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat());
  return element;
}
h.svg = new Set(["svg", "g", "line", "path", "polyline", "polygon", "circle", "rect", "text"]);

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;

// A number that the reader moves; `show` writes it, `changed` is called with it.
function slider(label, { min, max, step = 1, value, show = String }, changed) {
  const output = h("output", {}, show(value));
  const input = h("input", {
    type: "range", min, max, step, value, "aria-valuetext": show(value),
    oninput: () => {
      output.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
      changed(Number(input.value));
    },
  });
  const row = h("label", { class: "slider" }, h("span", {}, label), input, output);
  row.input = input;
  return row;
}

function checkBox(label, changed, checked = false) {
  const input = h("input", { type: "checkbox", checked, onchange: changed });
  const row = h("label", {}, input, ` ${label}`);
  row.input = input;
  return row;
}

const button = (text, onclick) => h("button", { onclick }, text);

function textField(label, value, changed) {
  const input = h("input", { type: "text", value, spellcheck: "false", autocomplete: "off", oninput: () => changed(input.value) });
  const row = h("label", { class: "field" }, h("span", {}, label), input);
  row.input = input;
  return row;
}

const STYLE = `
  :host {
    all: initial; display: block; margin: 1.5rem 0;
    color: var(--ink); font: 0.95rem/1.5 var(--sans); color-scheme: light dark;
  }
  @media print { :host { display: none; } }
  * { box-sizing: border-box; }
  section {
    padding: 0.9rem 1rem; overflow: hidden;
    background: var(--surface); border: 1px solid var(--line); border-radius: 0.375rem;
  }
  p { margin: 0 0 0.6rem; }
  .title { font-weight: 600; }
  .hint { color: var(--ink-soft); }
  .foot { display: flex; gap: 0.75rem; align-items: flex-start; margin-top: 0.4rem; }
  .foot button { font-size: 0.85rem; flex: none; }
  .status { flex: 1; min-height: 1.5em; margin: 0; color: var(--muted); font-size: 0.85rem; }
  .status[data-failed] { color: var(--code-error); }
  .controls { display: flex; flex-wrap: wrap; gap: 0.4rem 1.25rem; margin-bottom: 0.6rem; align-items: center; }
  .slider { display: flex; gap: 0.5rem; align-items: center; }
  .slider output { min-width: 4.5ch; font-variant-numeric: tabular-nums; }
  input[type="range"] { width: 9rem; height: 1.5rem; accent-color: var(--accent); }
  .field { display: flex; flex-wrap: wrap; gap: 0.1rem 0.5rem; align-items: center; margin-bottom: 0.4rem; }
  .field span { flex: 0 0 6rem; }
  .field input, textarea { flex: 1 1 14rem; min-width: 0; }
  textarea { resize: none; }
  input[type="text"], textarea, select, button {
    font: inherit; color: inherit; padding: 0.2rem 0.5rem;
    background: var(--paper); border: 1px solid var(--line-strong); border-radius: 0.25rem;
  }
  button { cursor: pointer; }
  button:disabled { cursor: default; color: var(--muted); }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
  .scroll { overflow: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.1rem 0.4rem; text-align: left; font-weight: normal; white-space: nowrap; }
  @media (max-width: 600px) {
    th, td { padding: 0.1rem 0.25rem; }
    .foot { flex-direction: column; }
    .status { flex: none; min-height: 3em; }
  }
  thead th { color: var(--ink-soft); border-bottom: 1px solid var(--line-strong); }
  .number { text-align: right; }
  .tokens { display: flex; flex-wrap: wrap; gap: 0.25rem; align-content: flex-start; overflow: auto; padding: 2px; }
  .tokens, .piece { font-family: var(--mono); font-size: 0.85rem; }
  .bar { background: linear-gradient(var(--mark) 0 0) left / var(--share) 100% no-repeat; }
  svg text { font: 12px var(--sans); fill: var(--ink-soft); }
`;

const checkable = ({ type }) => ["checkbox", "radio"].includes(type);

class LiveFigure extends HTMLElement {
  // What a figure has of its own: its title, one sentence that says what to try, its style, and
  // `draw(box)`, which fills the box at once. `start()` is called near the screen, once. Where the
  // values of its inputs do not tell all, `state` gives and takes the rest, as JSON.
  static title = "";
  static hint = "";
  static style = "";

  connectedCallback() {
    if (this.shadowRoot) return;
    const { title, hint, style } = this.constructor;
    this.box = h("div");
    this.status = h("p", { class: "status", role: "status" });
    const section = h("section", { "aria-label": title },
      h("p", { class: "title" }, title), h("p", { class: "hint" }, hint), this.box, h("div", { class: "foot" }, this.status, button("Link to this", () => this.link())));
    this.attachShadow({ mode: "open" }).append(h("style", {}, STYLE + style), section);
    this.draw(this.box);
    this.inputs = [...this.box.querySelectorAll("input, textarea, select")];
    this.restore();
    window.addEventListener("hashchange", () => this.restore());
    const observer = new IntersectionObserver(async ([entry]) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      await this.attempt(() => this.start());
    }, { rootMargin: "300px" });
    observer.observe(this);
  }

  draw() {}

  async start() {}

  // Runs a step; what goes wrong is told below the figure, in its own words.
  async attempt(step) {
    this.busy = true;
    try {
      this.say("");
      await step();
    } catch (error) {
      if (error instanceof Superseded) return; // the newer step is under way
      this.say(error.message, true);
    }
    this.busy = false;
  }

  say(text, failed = false) {
    this.status.textContent = text;
    this.status.toggleAttribute("data-failed", failed);
  }

  // Puts what the figure shows into the address of the page, behind the #.
  link() {
    const values = this.inputs.map((input) => (checkable(input) ? input.checked : input.value));
    const text = encodeURIComponent(JSON.stringify([values, this.state ?? null]));
    history.replaceState(null, "", `#${this.localName}=${text}`);
    navigator.clipboard?.writeText(location.href).catch(() => {});
    this.say("The address of this page now leads here.");
  }

  restore() {
    const [name, text] = location.hash.slice(1).split("=");
    if (name !== this.localName) return;
    try {
      const [values, state] = JSON.parse(decodeURIComponent(text));
      this.inputs.forEach((input, i) => {
        if (checkable(input)) input.checked = values[i] === true;
        else if (typeof values[i] === "string") input.value = values[i];
        for (const event of ["input", "change"]) input.dispatchEvent(new Event(event));
      });
      if (state !== null) this.state = state;
    } catch {
      this.say("The link behind the # of the address is damaged.", true);
    }
    this.scrollIntoView();
  }
}

// A figure that runs the whole model: `update()` computes anew and draws.
class ModelFigure extends LiveFigure {
  turn = 0;

  // The reader may choose a larger model, where the book was built with one.
  modelChoice() {
    if (!this.hasAttribute("larger-weights")) return [];
    this.choice = h("select", { onchange: () => this.model && this.attempt(() => this.start()) },
      h("option", { value: "" }, "mini-BERT, 6 MB"), h("option", { value: "larger-" }, "MiniLM, 23 MB"));
    return [h("label", {}, "Model ", this.choice)];
  }

  async load() {
    const which = this.choice?.value ?? "";
    const address = (part) => this.getAttribute(which + part);
    this.say(`The model is loading: ${which ? 23 : 6} MB.`);
    this.turn += 1;
    [this.wordPiece, this.model] = await Promise.all([
      loadTokenizer(address("vocabulary")),
      loadOnce(address("weights"), getBytes, (file) => new Bert(file)),
    ]);
  }

  async start() {
    await this.load();
    await this.update();
  }

  // What the model makes of a text. A pass that a newer one has overtaken ends here.
  async pass(input, headMask = null, model = this.model) {
    const turn = this.turn;
    const goOn = async () => {
      await pause();
      if (this.turn !== turn) throw new Superseded();
    };
    const found = await model.forward(input, headMask, goOn);
    await goOn();
    return found;
  }

  // Waits for a pause in the reader's typing.
  later(wait = 250) {
    if (!this.model) return;
    this.busy = true;
    this.turn += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.attempt(() => this.update()), wait);
  }
}
