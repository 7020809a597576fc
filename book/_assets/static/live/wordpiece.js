// BERT's tokenizer in the reader's browser: a text becomes words, words pieces.
"use strict";

class WordPieceTokenizer {
  // pieces: the vocabulary, each at its number. characters: the ranges of each kind,
  // such as "300-36F 483". They come along because the browser's own tables follow
  // another version of Unicode than the book's tokenizer.
  constructor({ pieces, max_length, characters }) {
    this.pieces = pieces;
    this.maxLength = max_length;
    this.vocabulary = new Map(pieces.map((piece, id) => [piece, id]));
    this.is = {};
    for (const [kind, ranges] of Object.entries(characters)) {
      const inside = ranges.replace(/[0-9A-F]+/g, "\\u{$&}").replaceAll(" ", "");
      this.is[kind] = new RegExp(`[${inside}]`, "u");
    }
  }

  // Small letters without accents, cut at spaces and on either side of punctuation.
  words(text) {
    const words = [];
    let inside = false;
    const add = (char) => {
      const mark = this.is.punctuation.test(char);
      if (inside && !mark) words[words.length - 1] += char;
      else words.push(char);
      inside = !mark;
    };
    for (const char of text) {
      if (this.is.space.test(char)) inside = false;
      else if (!this.is.dropped.test(char)) {
        const alone = this.is.chinese.test(char); // a Chinese character is a word
        if (alone) inside = false;
        for (const part of char.normalize("NFD")) { // a letter, then its accents
          if (!this.is.mark.test(part)) [...part.toLowerCase()].forEach(add);
        }
        if (alone) inside = false;
      }
    }
    return words;
  }

  // Each time the longest piece that the vocabulary has, from the left; `tried` sees
  // every attempt.
  longestMatch(word, tried = () => {}) {
    const chars = [...word];
    const pieces = [];
    if (chars.length > 100) return ["[UNK]"];
    for (let start = 0, end; start < chars.length; start = end) {
      let piece = null;
      for (end = chars.length; end > start; end--) {
        piece = (start ? "##" : "") + chars.slice(start, end).join("");
        tried(piece);
        if (this.vocabulary.has(piece)) break;
      }
      if (end === start) return ["[UNK]"]; // one missing letter costs the whole word
      pieces.push(piece);
    }
    return pieces;
  }

  // A special token that is typed in the text, in capitals, stays whole.
  tokenize(text) {
    const half = text.search(/\p{Surrogate}/u);
    const what = "half of a surrogate pair";
    if (half >= 0) throw new Error(`position ${half} of the text holds ${what}`);
    const cut = (words) => words.flatMap((word) => this.longestMatch(word));
    const parts = text.split(/(\[PAD\]|\[UNK\]|\[CLS\]|\[SEP\]|\[MASK\])/);
    return parts.flatMap((part, i) => (i % 2 ? [part] : cut(this.words(part))));
  }

  // [CLS] A [SEP] or [CLS] A [SEP] B [SEP]; types: 0 up to the first [SEP], then 1.
  encode(a, b = null) {
    const first = ["[CLS]", ...this.tokenize(a), "[SEP]"];
    const tokens = b === null ? first : [...first, ...this.tokenize(b), "[SEP]"];
    const [count, most] = [tokens.length, this.maxLength];
    if (count > most) {
      throw new Error(`${count} pieces with the special ones, at most ${most} fit`);
    }
    return {
      tokens,
      ids: tokens.map((token) => this.vocabulary.get(token)),
      types: tokens.map((_, i) => (i < first.length ? 0 : 1)),
    };
  }
}
