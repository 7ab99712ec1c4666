"""Time programs against each other on a machine that is never quite quiet.

The programs take turns in short bursts, so that a slow minute of the machine (another guest, a
lower clock) hits all of them. The minimum is the time on a quiet core, the median what a user of
this machine sees; a comparison quotes both.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Program = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Times of one program in seconds, one tuple for each burst; no burst is empty."""

    bursts: tuple[tuple[float, ...], ...]

    @property
    def runs(self) -> int:
        return sum(len(burst) for burst in self.bursts)

    @property
    def median(self) -> float:
        return statistics.median(second for burst in self.bursts for second in burst)

    @property
    def minimum(self) -> float:
        return min(second for burst in self.bursts for second in burst)


@dataclass(frozen=True)
class Ratio:
    """How much time one program takes for each second of another, said in three ways.

    `paired` is the median over the rounds of (median of the round's burst / median of the other's
    burst in the same round): the least disturbed by slow phases of the machine.
    """

    medians: float
    minima: float
    paired: float


def alternate(
    programs: Mapping[str, Program],
    *,
    seconds: float,
    burst_seconds: float = 0.2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Run the programs in turn, in bursts, for about `seconds` altogether.

    Every other round goes through the programs backwards. The first call of a burst finds the
    caches full of another program's data and is not counted. Each program runs at least once.
    """
    bursts: dict[str, list[tuple[float, ...]]] = {name: [] for name in programs}
    order = list(programs)
    end = clock() + seconds
    while True:
        for name in order:
            bursts[name].append(_burst(programs[name], burst_seconds, clock))
        order.reverse()
        if clock() >= end:
            return {name: Timing(tuple(rounds)) for name, rounds in bursts.items()}


def ratio(ours: Timing, theirs: Timing) -> Ratio:
    """Compare two timings that `alternate` took in the same call."""
    rounds = zip(ours.bursts, theirs.bursts, strict=True)
    return Ratio(
        medians=ours.median / theirs.median,
        minima=ours.minimum / theirs.minimum,
        paired=statistics.median(
            statistics.median(one) / statistics.median(other) for one, other in rounds
        ),
    )


def _burst(program: Program, seconds: float, clock: Callable[[], float]) -> tuple[float, ...]:
    program()
    times = []
    end = clock() + seconds
    while True:
        start = clock()
        program()
        now = clock()
        times.append(now - start)
        if now >= end:
            return tuple(times)
