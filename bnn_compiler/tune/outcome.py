"""What a tuning run says of itself: how far it is, and what it found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bnn_compiler.cost.model import Quality
from bnn_compiler.cost.records import Record
from bnn_compiler.tune.strategy import TaskSearch


@dataclass(frozen=True)
class TuningProgress:
    """State after a batch of ``task``.

    ``best``, ``rule`` and ``bound`` (the roofline; 0 if it is not known) are seconds of one run of
    every kernel measured so far, as often as the network has it. ``most`` is the budget of trials.
    """

    trials: int
    most: int
    failed: int
    best: float
    rule: float
    bound: float
    task: str


Tell = Callable[[TuningProgress], None]


@dataclass(frozen=True)
class TuningReport:
    """What a tuning run found; ``quality`` is the model's, if there were samples enough.

    ``bounds`` has the roofline in seconds by task key, where it is known, ``inside`` what kernels
    take inside the network (inside.py): a record is of a kernel alone.
    """

    path: Path
    records: list[Record]
    trials: int
    failed: int
    quality: Quality | None
    bounds: dict[str, float]
    inside: dict[str, float] = field(default_factory=dict)


def progress(
    searches: Mapping[TaskSearch, int], bounds: Mapping[str, float], current: TaskSearch
) -> TuningProgress:
    """How far ``searches`` (and how often the network has the kernel of each) are."""
    best, rule, bound = 0.0, 0.0, 0.0
    for search, times in searches.items():
        found, default = search.best(), search.rule_seconds()
        if found and found.seconds and default:
            best, rule = best + times * found.seconds, rule + times * default
            bound += times * bounds.get(search.task.key, 0.0)
    trials = [t for s in searches for t in s.measured().values()]
    return TuningProgress(
        len(trials),
        sum(min(s.search.trials, len(s.space)) for s in searches),
        sum(t.seconds is None for t in trials),
        best,
        rule,
        bound,
        str(current.task),
    )
