// BERT once more, in the reader's browser: embeddings, encoder, both heads.
// S length   D width   F inner width   H heads   Dh = D / H   L layers   V vocabulary
// A matrix [S, D] is an array of S rows, a row a Float32Array: what is stored has 32
// bits, as in PyTorch. In between JavaScript computes with 64, so sums lose nothing.
"use strict";

const dot = (a, b) => {
  let [s, t, u, v] = [0, 0, 0, 0]; // four sums at once; widths are multiples of four
  for (let i = 0; i < a.length; i += 4) {
    s += a[i] * b[i]; t += a[i + 1] * b[i + 1];
    u += a[i + 2] * b[i + 2]; v += a[i + 3] * b[i + 3];
  }
  return s + t + u + v;
};

const add = (a, b) => a.map((x, i) => x + b[i]);

const softmax = (scores) => {
  const largest = Math.max(...scores); // taken off, so that no power is too large
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
};

// The error function by its series, 2/√π exp(-x²) (x + 2x³/3 + 4x⁵/15 + …).
const erf = (x) => {
  if (Math.abs(x) > 4) return Math.sign(x); // to 32 bits
  let sum = x;
  for (let t = x, n = 3; Math.abs(t) > 1e-10; n += 2) sum += t *= (2 * x * x) / n;
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
};

const gelu = (x) => (x * (1 + erf(x / Math.SQRT2))) / 2; // x · P(normal number < x)

class Bert {
  // A file: the length of its header, header, floats, bytes. A vector is stored as it
  // is, a matrix row by row: numbers in -127..127, multiplied by a row's factor here.
  constructor(file) {
    const length = new DataView(file).getUint32(0, true);
    const header = new TextDecoder().decode(new Uint8Array(file, 4, length));
    const { config, tensors, floats, bytes } = JSON.parse(header);
    const missing = 4 + length + 4 * floats + bytes - file.byteLength;
    if (missing) throw new Error(`the weights lack ${missing} of their bytes`);
    const numbers = new Float32Array(file, 4 + length, floats);
    const integers = new Int8Array(file, 4 + length + 4 * floats, bytes);
    const take = (at, width) => new Float32Array(integers.subarray(at, at + width));
    this.config = config;
    this.weights = {};
    for (const [name, { shape: [rows, width], ...at }] of Object.entries(tensors)) {
      const own = numbers.subarray(at.floats, at.floats + rows);
      const row = (step, i) => take(at.bytes + i * width, width).map((q) => q * step);
      this.weights[name] = width === undefined ? own : Array.from(own, row);
    }
  }

  // [S, in] to [S, out]: dot products with the rows of [out, in], and a bias.
  // A row meets all tokens before the next one does: memory is read once.
  linear(name, x) {
    const { [`${name}.weight`]: matrix, [`${name}.bias`]: bias } = this.weights;
    const y = x.map(() => new Float32Array(matrix.length));
    matrix.forEach((w, o) => x.forEach((v, i) => { y[i][o] = dot(w, v) + bias[o]; }));
    return y;
  }

  // [D] to [D]: mean 0 and variance 1, then a gain and a bias.
  layerNorm(name, x) {
    const { [`${name}.weight`]: gain, [`${name}.bias`]: bias } = this.weights;
    const mean = x.reduce((sum, v) => sum + v, 0) / x.length;
    const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
    const scale = 1 / Math.sqrt(variance + this.config.layer_norm_eps);
    return x.map((v, i) => (v - mean) * scale * gain[i] + bias[i]);
  }

  // The sum of three rows of tables, normalised: [S, D].
  embed(ids, types) {
    const table = (name) => this.weights[`bert.embeddings.${name}_embeddings.weight`];
    const [word, type, position] = ["word", "token_type", "position"].map(table);
    return ids.map((id, i) => {
      const rows = [word[id], type[types[i]], position[i]];
      const input = `piece ${id} of type ${types[i]} at position ${i}`;
      if (!rows.every(Boolean)) throw new Error(`no row for ${input}`);
      return this.layerNorm("bert.embeddings.LayerNorm", rows.reduce(add));
    });
  }

  // Every token gathers from all. factors: H numbers, 0 switches a head off.
  // Returns context [S, D] and weights [H, S, S].
  attend(name, states, factors) {
    const project = (part) => this.linear(`${name}.${part}`, states);
    const context = states.map((x) => new Float32Array(x.length)); // [S, D]
    const whole = [...["query", "key", "value"].map(project), context];
    const width = this.config.hidden_size / factors.length; // Dh
    const weights = factors.map((factor, head) => {
      const part = (x) => x.subarray(head * width, (head + 1) * width); // a view
      const [queries, keys, values, out] = whole.map((x) => x.map(part)); // [S, Dh]
      return queries.map((q, i) => {
        const row = softmax(keys.map((k) => dot(q, k) / width ** 0.5)); // [S]
        const mean = (d) => row.reduce((sum, w, j) => sum + w * values[j][d], 0);
        out[i].set(q.map((_, d) => factor * mean(d))); // and so into context
        return row;
      });
    });
    return { context, weights };
  }

  // Attention, then the feed-forward network, each added to its input and normalised.
  layer(name, states, factors) {
    const half = `${name}.attention`;
    const { context, weights } = this.attend(`${half}.self`, states, factors);
    const addAndNorm = (part, old, inputs) => this.linear(`${part}.dense`, inputs)
      .map((update, i) => this.layerNorm(`${part}.LayerNorm`, add(old[i], update)));
    const middle = addAndNorm(`${half}.output`, states, context); // [S, D]
    const inner = this.linear(`${name}.intermediate.dense`, middle); // [S, F]
    const next = addAndNorm(`${name}.output`, middle, inner.map((x) => x.map(gelu)));
    return { next, weights };
  }

  // headMask: a factor for each head, [L, H]. One text has no padding, needs no mask.
  // Returns hiddenStates, L + 1 times [S, D], and attentions, L times [H, S, S].
  async forward({ ids, types }, headMask = null, pause = () => {}) {
    const { num_hidden_layers: layers, num_attention_heads: heads } = this.config;
    const hiddenStates = [this.embed(ids, types)];
    const attentions = [];
    for (let i = 0; i < layers; i++) {
      await pause(); // the page goes on in between
      const name = `bert.encoder.layer.${i}`;
      const factors = headMask?.[i] ?? Array(heads).fill(1);
      const { next, weights } = this.layer(name, hiddenStates[i], factors);
      hiddenStates.push(next);
      attentions.push(weights);
    }
    return { hiddenStates, attentions };
  }

  // A state [D] to scores of all pieces [V]: its products with the word vectors.
  maskedLM(state) {
    const [y] = this.linear("cls.predictions.transform.dense", [state]);
    const x = this.layerNorm("cls.predictions.transform.LayerNorm", y.map(gelu));
    const bias = this.weights["cls.predictions.bias"];
    const table = this.weights["bert.embeddings.word_embeddings.weight"];
    return Float32Array.from(table, (row, i) => dot(row, x) + bias[i]);
  }

  // [S, D] to two scores, "B follows A" and "it does not". Only [CLS] is read.
  nextSentence(states) {
    const [y] = this.linear("bert.pooler.dense", [states[0]]); // [1, D]
    return this.linear("cls.seq_relationship", [y.map(Math.tanh)])[0];
  }
}
