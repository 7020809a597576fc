"""Date pairs: exact patterns, one reading a string, disjoint splits."""

import datetime
import re

import pytest

from bertbook.corpora.dates import (
    HELD_OUT_FORMATS,
    TRAIN_FORMATS,
    date_pairs,
    date_splits,
    in_chinese,
    in_english,
)

SECOND_OF_SEPTEMBER = datetime.date(2026, 9, 2)
TRAIN_DATES, HELD_OUT_DATES = date_splits()


@pytest.mark.parametrize("name", [*TRAIN_FORMATS, *HELD_OUT_FORMATS])
def test_a_format_is_named_by_what_it_writes(name):
    assert in_english(SECOND_OF_SEPTEMBER, name) == name


def test_chinese_puts_the_year_first():
    assert in_chinese(SECOND_OF_SEPTEMBER) == "2026年9月2日"
    assert in_chinese(datetime.date(1999, 12, 31)) == "1999年12月31日"


def test_the_splits_are_disjoint_complete_and_the_same_every_time():
    assert not set(TRAIN_DATES) & set(HELD_OUT_DATES)
    assert len(set(TRAIN_DATES) | set(HELD_OUT_DATES)) == 36525
    assert len(HELD_OUT_DATES) == 3652
    assert date_splits() == (TRAIN_DATES, HELD_OUT_DATES)
    assert date_splits(seed=1)[1] != HELD_OUT_DATES
    assert not set(TRAIN_FORMATS) & set(HELD_OUT_FORMATS)


def test_no_english_date_has_two_readings():
    reading = {}
    for date in TRAIN_DATES[:1500] + HELD_OUT_DATES[:500]:
        for name in (*TRAIN_FORMATS, *HELD_OUT_FORMATS):
            assert reading.setdefault(in_english(date, name), date) == date


def test_held_out_sources_were_never_trained_on():
    known = {
        in_english(date, name) for date in TRAIN_DATES[:3000] for name in TRAIN_FORMATS
    }
    new_dates = date_pairs(HELD_OUT_DATES, list(TRAIN_FORMATS), 500)
    assert not known & {english for english, _ in new_dates}
    new_formats = date_pairs(TRAIN_DATES[:3000], list(HELD_OUT_FORMATS), 500)
    assert not known & {english for english, _ in new_formats}


def test_a_held_out_format_is_drawn_only_where_it_differs():
    pairs = date_pairs(TRAIN_DATES, ["02 September 2026"], 100)
    assert all(re.fullmatch(r"0\d \w+ \d{4}", english) for english, _ in pairs)


def test_the_year_is_in_both_and_the_draw_is_reproducible():
    pairs = date_pairs(TRAIN_DATES, list(TRAIN_FORMATS), 200, seed=4)
    for english, chinese in pairs:
        assert re.findall(r"\d{4}", english) == [chinese[:4]]
        assert chinese[4] == "年"
    assert date_pairs(TRAIN_DATES, list(TRAIN_FORMATS), 200, seed=4) == pairs
    assert date_pairs(TRAIN_DATES, list(TRAIN_FORMATS), 200, seed=5) != pairs


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no format 'American'"):
        in_english(SECOND_OF_SEPTEMBER, "American")
    with pytest.raises(ValueError, match="got 1"):
        date_splits(held_out=1)
    with pytest.raises(ValueError, match="0 formats"):
        date_pairs(TRAIN_DATES, [], 5)
    with pytest.raises(ValueError, match="cannot draw 0 pairs"):
        date_pairs(TRAIN_DATES, list(TRAIN_FORMATS), 0)
