"""What a document and a sentence are in a text, and how a sentence without an end is cut."""

import re
from collections.abc import Sequence
from itertools import pairwise

__all__ = [
    "A_DOCUMENT",
    "A_SENTENCE",
    "LINE_ENDS",
    "cut_by_length",
    "document_sentences",
    "split_sentences",
]

# Said by --help, by the errors and by CONTRIBUTING.md; a test holds the three in step.
A_DOCUMENT = (
    "A document ends at a blank line or at the end of a text file; in .jsonl, .parquet and data "
    "sets of the hub each row is one."
)
A_SENTENCE = (
    "A sentence ends at . ! ? … before a space and a letter that is not small, and at 。 ！ ？ ؟ । "
    "without a space. A line end ends one where all lines of a document end in such a mark, where "
    "the marks cut the document nowhere, or with --line-ends sentence. What is still one sentence, "
    "or longer than 512 pieces, is cut by length between words, every 32 pieces or in halves."
)
LINE_ENDS = ("auto", "sentence", "space")
LONGEST, STRETCH = 512, 32  # in pieces

# A mark before a space and no small letter; or a mark of a script without spaces or capitals
# (Chinese, Hindi, Urdu, Armenian, Ethiopic, Burmese, Khmer). `++` and `*+` never try again, so the
# search reads each character a fixed number of times.
OWN_MARKS = "。！？｡।॥؟۔։።။។"
SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"')\]]*+( ++)(?=[\"'(\[]*+[^\W_a-zà-ÿ])"
    rf"|[{OWN_MARKS}][{OWN_MARKS}.!?…]*+[\"')\]”’」』）】》]*+( *+)"
)

# After these words a full stop ends no sentence; nor does it after a single capital but I.
ABBREVIATIONS = re.compile(
    "mrs?|ms|dr|st|[js]r|vs|vol|pp|cf|fig|gen|col|lt|capt|sgt|rev|hon|prof|gov|sen|rep|mt|ft|ca|"
    r"[cbd]|eds?|op|approx|al|i\.e|e\.g|u\.[sk]|a\.d|b\.c|[ap]\.m|ph\.d|inc|co|corp|ltd|jan|feb|"
    "mar|apr|aug|sept?|oct|nov|dec"
)
INITIALS = re.compile(r"([^\W\d_]\.)*[A-HJ-Z]")


def split_sentences(text: str) -> tuple[str, ...]:
    """Cut a text after the marks that end a sentence, in time linear in its length.

    ``.``, ``!``, ``?`` and ``…`` end a sentence if a space and no small letter follow, and a full
    stop does not stand after one of ``ABBREVIATIONS`` or an initial. So "He came to the U.S. Then
    he left." is not cut, "the group Wham! Then" is, and a text without capitals has no such cut.
    One of ``OWN_MARKS``, as in Chinese, ends a sentence whether or not a space follows.

    Args:
        text: on one line, with single spaces.

    Returns:
        The sentences; only the spaces between them are missing.
    """
    sentences, start = [], 0
    for match in SENTENCE_END.finditer(text):
        if text[match.start()] == ".":
            last = _last_word(text, start, match.start())
            if ABBREVIATIONS.fullmatch(last.lower()) or INITIALS.fullmatch(last):
                continue
        sentences.append(text[start : match.start(match.lastindex)])
        start = match.end()
    return (*sentences, text[start:]) if text[start:] else tuple(sentences)


def document_sentences(text: str, line_ends: str = "auto") -> list[str]:
    """Cut a document into sentences; lines are joined by a space unless their ends end sentences.

    Args:
        text: with blank lines between paragraphs, which are never joined.
        line_ends: one of ``LINE_ENDS``. ``"sentence"``: each line end ends a sentence.
            ``"space"``: none does. ``"auto"``: see ``A_SENTENCE``.
    """
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if words := line.split():
            paragraphs[-1].append(" ".join(words))
        else:
            paragraphs.append([])
    lines = [line for paragraph in paragraphs for line in paragraph]
    joined = [s for p in paragraphs for s in split_sentences(" ".join(p))]
    if line_ends == "space" or len(lines) == sum(map(bool, paragraphs)):
        return joined  # in the second case no line end is inside a paragraph
    if line_ends == "auto" and len(joined) > 1 and not all(map(_is_whole, lines)):
        return joined
    return [sentence for line in lines for sentence in split_sentences(line)]


def cut_by_length(
    sentences: Sequence[list[int]], continues: Sequence[bool]
) -> list[list[int]]:
    """Cut what is too long, or the only sentence of a document, so that there are two to pair.

    Args:
        sentences: of one document, as numbers of pieces.
        continues: of each piece of the vocabulary, whether it continues a word, which stays whole.

    Returns:
        A sentence of more than ``LONGEST`` pieces in stretches of ``STRETCH``; a single one also,
        or in two halves if it is shorter than two stretches. The others as they are.
    """
    parts = []
    for sentence in sentences:
        size = len(sentence)
        if size > LONGEST or len(sentences) == 1:
            size = min(STRETCH, -(-size // 2))
        places = [0]
        for place, number in enumerate(sentence):
            if place - places[-1] >= size and not continues[number]:
                places.append(place)
        parts += [sentence[a:b] for a, b in pairwise([*places, len(sentence)])]
    return parts


def _last_word(text: str, start: int, end: int) -> str:
    """What stands before ``end``, back to a space, a quotation mark or a bracket."""
    begin = end
    while begin > start and not (
        text[begin - 1].isspace() or text[begin - 1] in "\"'(["
    ):
        begin -= 1
    return text[begin:end]


def _is_whole(line: str) -> bool:
    """Whether a line ends as a sentence does."""
    return line.rstrip("\"')]”’」』）】》")[-1:] in tuple(f".!?…{OWN_MARKS}")
