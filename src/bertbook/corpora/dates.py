"""English dates in many formats, and their one Chinese form: unlimited, exact parallel text.

The patterns are those of the Unicode CLDR, as the package Babel ships them: "September 2, 2026" is
how American English writes a long date, "2026年9月2日" how Chinese does.
"""

import datetime
import random
from collections.abc import Mapping, Sequence

from babel import Locale
from babel.dates import format_date, parse_pattern

__all__ = [
    "HELD_OUT_FORMATS",
    "TRAIN_FORMATS",
    "date_pairs",
    "date_splits",
    "in_chinese",
    "in_english",
]

FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)

# Locale and CLDR name: a width (short … full) or a skeleton (the fields that are asked for).
# Month and day as bare numbers come in the orders day-month-year and year-month-day alone, so
# every string has one reading.
TRAIN_FORMATS: Mapping[str, tuple[str, str]] = {
    "Wednesday, September 2, 2026": ("en_US", "full"),
    "September 2, 2026": ("en_US", "long"),
    "Sep 2, 2026": ("en_US", "medium"),
    "Wed, Sep 2, 2026": ("en_US", "yMMMEd"),
    "Wednesday, 2 September 2026": ("en_GB", "full"),
    "2 September 2026": ("en_GB", "long"),
    "2 Sept 2026": ("en_GB", "medium"),
    "02/09/2026": ("en_GB", "short"),
    "2026-09-02": ("en_SE", "short"),
}
HELD_OUT_FORMATS: Mapping[str, tuple[str, str]] = {
    "Wednesday 2 September 2026": ("en_IE", "full"),
    "Wed, 2 Sept 2026": ("en_GB", "yMMMEd"),
    "02 September 2026": ("en_ZA", "long"),
    "02-Sept-2026": ("en_PK", "medium"),
    "2026/09/02": ("en_ZA", "short"),
}
FORMATS = {**TRAIN_FORMATS, **HELD_OUT_FORMATS}


def in_english(date: datetime.date, format_name: str) -> str:
    """Write a date in one of the formats.

    Args:
        date: any date.
        format_name: a key of :data:`TRAIN_FORMATS` or :data:`HELD_OUT_FORMATS`: how that format
            writes 2 September 2026.

    Raises:
        ValueError: if there is no such format.
    """
    if format_name not in FORMATS:
        raise ValueError(f"no format {format_name!r}; there are {list(FORMATS)}")
    locale, style = FORMATS[format_name]
    skeletons = Locale.parse(locale).datetime_skeletons
    if style in skeletons:
        return parse_pattern(skeletons[style]).apply(date, locale)
    return format_date(date, style, locale)


def in_chinese(date: datetime.date) -> str:
    """Write a date the Chinese way: year, month, day, each before its character.

    Args:
        date: any date.
    """
    return format_date(date, "long", "zh_Hans_CN")


def date_splits(
    held_out: float = 0.1, seed: int = 0
) -> tuple[list[datetime.date], list[datetime.date]]:
    """All days of the hundred years from 1950, split at random.

    Args:
        held_out: share of the days that is held out.
        seed: of the split.

    Returns:
        The days to train on and the days held out, disjoint, in random order.

    Raises:
        ValueError: if ``held_out`` is not between 0 and 1.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie between 0 and 1, got {held_out}")
    days = [
        FIRST + datetime.timedelta(days=number)
        for number in range((LAST - FIRST).days + 1)
    ]
    random.Random(seed).shuffle(days)
    count = round(held_out * len(days))
    return days[count:], days[:count]


def date_pairs(
    dates: Sequence[datetime.date], formats: Sequence[str], count: int, seed: int = 0
) -> list[tuple[str, str]]:
    """Draw pairs of an English and a Chinese date.

    In a held-out format some dates look as in a training format ("12 September 2026" has no leading
    zero to drop); these are not drawn, so that a held-out format is always seen for the first time.

    Args:
        dates: to draw from.
        formats: names of formats to draw from.
        count: number of pairs.
        seed: of the draw.

    Returns:
        ``count`` pairs ``(english, chinese)``.

    Raises:
        ValueError: if ``count`` is not positive, or there is no date or no format to draw from.
    """
    if count < 1 or not dates or not formats:
        raise ValueError(
            f"cannot draw {count} pairs from {len(dates)} dates and {len(formats)} formats"
        )
    generator = random.Random(seed)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        date, name = generator.choice(dates), generator.choice(formats)
        english = in_english(date, name)
        if name in HELD_OUT_FORMATS and english in {
            in_english(date, known) for known in TRAIN_FORMATS
        }:
            continue
        pairs.append((english, in_chinese(date)))
    return pairs
