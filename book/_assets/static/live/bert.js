// BERT once more, in the reader's browser: embeddings, encoder, both heads of pre-training.
//
//   S length   D model width   F inner width   H heads   Dh = D / H   L layers   V vocabulary
//
// A matrix [S, D] is an array of S rows, a row a Float32Array: what is stored has 32 bits, as in
// PyTorch. In between JavaScript computes with 64 bits, so sums and powers lose nothing.
"use strict";

const dot = (a, b) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
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
  for (let term = x, n = 3; Math.abs(term) > 1e-17; n += 2) sum += term *= (2 * x * x) / n;
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
};

// x times the probability that a normal number is below x.
const gelu = (x) => (x * (1 + erf(x / Math.SQRT2))) / 2;

class Bert {
  // floats and bytes are base64. A vector is stored as it is, a matrix row by row: whole numbers
  // in -127..127, to be multiplied by the row's factor. They are, once, here.
  constructor({ config, tensors, floats, bytes }) {
    const decode = (text) => {
      const binary = atob(text);
      const array = new Uint8Array(binary.length);
      for (let i = 0; i < array.length; i++) array[i] = binary.charCodeAt(i);
      return array.buffer;
    };
    const numbers = new Float32Array(decode(floats));
    const integers = new Int8Array(decode(bytes));
    const rowOf = (start, width, factor) =>
      new Float32Array(integers.subarray(start, start + width)).map((whole) => whole * factor);
    this.config = config;
    this.weights = {};
    for (const [name, tensor] of Object.entries(tensors)) {
      const [length, width] = tensor.shape;
      const own = numbers.subarray(tensor.floats, tensor.floats + length);
      this.weights[name] = width === undefined
        ? own
        : Array.from(own, (factor, i) => rowOf(tensor.bytes + i * width, width, factor));
    }
  }

  // [in] to [out]: a dot product with each row of the matrix [out, in], and the bias.
  linear(name, x) {
    const bias = this.weights[`${name}.bias`];
    return Float32Array.from(this.weights[`${name}.weight`], (row, i) => dot(row, x) + bias[i]);
  }

  // [D] to [D]: mean 0 and variance 1, then a gain and a bias.
  layerNorm(name, x) {
    const gain = this.weights[`${name}.weight`];
    const bias = this.weights[`${name}.bias`];
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    const scale = 1 / Math.sqrt(variance + this.config.layer_norm_eps);
    return x.map((value, i) => (value - mean) * scale * gain[i] + bias[i]);
  }

  // The sum of three rows of tables, normalised: [S, D].
  embed(ids, types) {
    const row = (table, i) => this.weights[`bert.embeddings.${table}_embeddings.weight`][i];
    return ids.map((id, i) => {
      const rows = [row("word", id), row("token_type", types[i]), row("position", i)];
      const found = rows.every(Boolean);
      if (!found) throw new Error(`no row for piece ${id} of type ${types[i]} at position ${i}`);
      return this.layerNorm("bert.embeddings.LayerNorm", rows.reduce(add));
    });
  }

  // Every token gathers from all. factors: H numbers, 0 switches a head off.
  // Returns context [S, D] and weights [H, S, S].
  attend(name, states, factors) {
    const project = (part) => states.map((x) => this.linear(`${name}.${part}`, x)); // [S, D]
    const [query, key, value] = ["query", "key", "value"].map(project);
    const width = this.config.hidden_size / factors.length; // Dh
    const context = states.map((x) => new Float32Array(x.length));
    const weights = factors.map((factor, head) => {
      const part = (x) => x.subarray(head * width, (head + 1) * width); // [Dh]
      return states.map((_, i) => {
        const row = softmax(key.map((k) => dot(part(query[i]), part(k)) / Math.sqrt(width))); // [S]
        const gathered = part(context[i]); // a view: what is written here stands in context
        row.forEach((weight, j) => part(value[j]).forEach((v, d) => {
          gathered[d] += factor * weight * v;
        }));
        return row;
      });
    });
    return { context, weights };
  }

  // Attention, then the feed-forward network: each is added to what came in, then normalised.
  layer(name, states, factors) {
    const { context, weights } = this.attend(`${name}.attention.self`, states, factors);
    const next = states.map((x, i) => {
      const mixed = this.linear(`${name}.attention.output.dense`, context[i]); // [D]
      const y = this.layerNorm(`${name}.attention.output.LayerNorm`, add(x, mixed));
      const inner = this.linear(`${name}.intermediate.dense`, y).map(gelu); // [F]
      const update = this.linear(`${name}.output.dense`, inner); // [D]
      return this.layerNorm(`${name}.output.LayerNorm`, add(y, update));
    });
    return { next, weights };
  }

  // headMask: a factor for each head, [L, H]. One text has no padding, so no attention mask.
  // Returns hiddenStates, L + 1 times [S, D], and attentions, L times [H, S, S].
  forward({ ids, types }, headMask = null) {
    const hiddenStates = [this.embed(ids, types)];
    const attentions = [];
    for (let i = 0; i < this.config.num_hidden_layers; i++) {
      const factors = headMask?.[i] ?? Array(this.config.num_attention_heads).fill(1);
      const { next, weights } = this.layer(`bert.encoder.layer.${i}`, hiddenStates[i], factors);
      hiddenStates.push(next);
      attentions.push(weights);
    }
    return { hiddenStates, attentions };
  }

  // One token's state [D] to the scores of all pieces, [V]: its product with each word vector.
  maskedLM(state) {
    const name = "cls.predictions.transform";
    const x = this.layerNorm(`${name}.LayerNorm`, this.linear(`${name}.dense`, state).map(gelu));
    const bias = this.weights["cls.predictions.bias"];
    const table = this.weights["bert.embeddings.word_embeddings.weight"];
    return Float32Array.from(table, (row, i) => dot(row, x) + bias[i]);
  }

  // [S, D] to two scores: "B follows A", "it does not". Only the state of [CLS] is read.
  nextSentence(states) {
    const pooled = this.linear("bert.pooler.dense", states[0]).map(Math.tanh); // [D]
    return this.linear("cls.seq_relationship", pooled);
  }
}
