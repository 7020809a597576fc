"""Timing two programs that do the same, so that the machine's moods meet both alike."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """Medians of many alternating calls, in milliseconds.

    Attributes:
        ours: of our program.
        theirs: of the library's.
        ratio: median of theirs / ours of neighbouring calls; above 1 ours is the faster.
        calls: of each.
    """

    ours: float
    theirs: float
    ratio: float
    calls: int


def compare(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    seconds: float,
    least_calls: int = 5,
) -> Comparison:
    """Call both in turn, each pair in the other order, and take medians.

    The clock is the processor time of this process: others on the machine then count only by
    what they take away from caches and clock rate, and that hits neighbours alike.

    Args:
        ours: one call of our program.
        theirs: one call of the library's.
        seconds: how long to go on.
        least_calls: of each, however long they take.
    """
    for program in (ours, theirs, ours, theirs):  # what is done once only is not timed
        program()
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    programs = {"ours": ours, "theirs": theirs}
    end = time.perf_counter() + seconds
    count = 0
    while count < least_calls or time.perf_counter() < end:
        for name in sorted(programs, reverse=count % 2 == 1):
            start = time.process_time()
            programs[name]()
            times[name].append((time.process_time() - start) * 1e3)
        count += 1
    pairs = zip(times["theirs"], times["ours"], strict=True)
    return Comparison(
        statistics.median(times["ours"]),
        statistics.median(times["theirs"]),
        statistics.median(theirs / own for theirs, own in pairs),
        count,
    )
