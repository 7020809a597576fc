"""The answer pages: every point has its evidence, English and Chinese say the same."""

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = sorted(BOOK.glob("q*/answer.md"))
FOLLOW_UPS = {
    "q1_attention": 18,
    "q2_transformer": 18,
    "q3_bert_input": 16,
    "q4_pretraining": 18,
}

LINK = re.compile(r"\{(?:ref|numref|eq)\}`(?:[^`<]*<)?([\w-]+)>?`")
PARTS = ("points", "whiteboard", "follow-ups", "wrong", "rubric")


def parts(text: str) -> dict[str, str]:
    """The sections of an answer page by the last word of their label."""
    found = re.split(r"^\(q\d-(?:answer-)?([\w-]+?)(?:-zh)?\)=$", text, flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def points(section: str) -> list[str]:
    """The numbered points of the answer."""
    return re.split(r"^\d+\. ", section, flags=re.M)[1:]


def follow_ups(section: str) -> list[tuple[str, str]]:
    """The folded answers: question and answer."""
    return re.findall(
        r"^:{3,}\{dropdown\} (.+?)\n(.*?)^:{3,}$", section, flags=re.M | re.S
    )


def unlinked(text: str) -> list[str]:
    """The points of an answer page that name no evidence."""
    return [
        point[:60] for point in points(parts(text)["points"]) if not LINK.search(point)
    ]


def test_a_point_without_evidence_is_found():
    text = (
        "(q9-answer-points)=\n\n1. Shown in {ref}`x`.\n2. Only said.\n\n(q9-rubric)=\n"
    )
    assert unlinked(text) == ["Only said.\n\n"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_an_answer_page_is_complete(page):
    text = page.read_text(encoding="utf-8")
    sections = parts(text)
    assert set(PARTS) <= set(sections)
    assert len(points(sections["points"])) >= 5
    assert unlinked(text) == []
    questions = follow_ups(sections["follow-ups"])
    assert len(questions) >= FOLLOW_UPS[page.parent.name]
    assert all(len(answer.split()) >= 10 for _, answer in questions)
    assert len({question for question, _ in questions}) == len(questions)
    for table in ("wrong", "rubric"):
        assert sections[table].count("\n| ") >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_chinese_page_has_the_same_points_and_evidence(page):
    english = page.read_text(encoding="utf-8")
    chinese = page.with_name("answer_zh.md").read_text(encoding="utf-8")
    assert unlinked(chinese) == []
    evidence = [
        [set(LINK.findall(point)) for point in points(parts(text)["points"])]
        for text in (english, chinese)
    ]
    assert evidence[0] == evidence[1]
    counts = [len(follow_ups(parts(text)["follow-ups"])) for text in (english, chinese)]
    assert counts[0] == counts[1]
    han = len(re.findall(r"[\u4e00-\u9fff]", chinese))
    latin_words = len(
        re.findall(r"\b[a-z]{3,}\b", re.sub(r"`[^`]*`|\$[^$]*\$", "", chinese))
    )
    assert han > 8 * latin_words
