"""A hundred whole articles of the English Wikipedia, out of a dump that gensim ships for its tests.

They are the first articles of the dump, so nearly all titles begin with A.
"""

import bz2
import re
from dataclasses import dataclass
from functools import cache

from bertbook.corpora.packages import package_file

__all__ = ["Article", "clean_paragraphs", "load_articles"]

DUMP = (
    "gensim/test/test_data/"
    "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
)
DUMP_SHA256 = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"


@dataclass(frozen=True)
class Article:
    """One article: its title and its prose, without markup.

    Attributes:
        title: as Wikipedia writes it.
        paragraphs: in order; an item of a list or a cell of a table is one too. Headings,
            footnotes, formulas and templates are left out.
    """

    title: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs, one a line."""
        return "\n".join(self.paragraphs)


@cache
def load_articles() -> tuple[Article, ...]:
    """Read the articles, in the order of the dump; about four seconds the first time.

    Redirects and pages without text are left out.

    Raises:
        CorpusError: if gensim is not installed, or its dump is missing or another one.
    """
    path = package_file("gensim", DUMP, DUMP_SHA256)
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    articles = []
    with bz2.open(path) as dump:
        for title, markup, _ in extract_pages(dump, filter_namespaces=("0",)):
            if markup.lstrip().upper().startswith("#REDIRECT"):
                continue
            if paragraphs := clean_paragraphs(filter_wiki(markup)):
                articles.append(Article(title, paragraphs))
    return tuple(articles)


def clean_paragraphs(text: str) -> tuple[str, ...]:
    """Take away the markup that gensim's filter leaves: headings, list marks, bold and italics.

    Args:
        text: what ``gensim.corpora.wikicorpus.filter_wiki`` returns.

    Returns:
        The lines that hold a letter, without marks and with single spaces.
    """
    paragraphs = []
    for line in text.splitlines():
        if line.lstrip().startswith("="):
            continue
        line = re.sub(r"'{2,}", "", line)
        line = " ".join(line.lstrip(" \xa0*#:;|!").split())
        if re.search(r"[^\W\d_]", line):
            paragraphs.append(line)
    return tuple(paragraphs)
