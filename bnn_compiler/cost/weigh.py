"""The schedule of a task that was measured on other CPUs only.

Every candidate is asked what it would lose on a CPU, as the logarithm of its time over the best
there: what was measured there says so, or else that CPU's cost model. The CPU at hand is the one
that counts if anything is known of it, else all do alike, so that what is chosen is bad on none.
"""

import math
from collections.abc import Mapping, Sequence

from bnn_compiler import families
from bnn_compiler.cost.model import CostModel
from bnn_compiler.cost.records import Record
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Gpu, Hardware

#: The loss of a schedule of which a CPU says nothing.
_UNKNOWN = math.log(1.1)
#: What a prediction has to promise before it goes before a measurement.
_TRUST = math.log(1.05)


def weigh(
    task: Task,
    records: Sequence[Record],
    models: Mapping[str, CostModel],
    cpu: str,
    hardware: Hardware | Gpu,
) -> Record | Point:
    """One of ``records``, whose points are the task's, or a point that is likely better on ``cpu``.

    ``models`` are by CPU. The first record goes before its equals.
    """
    if cpu not in models and {r.cpu for r in records} >= set(models) and len(records) == 1:
        # Nobody else is asked, and who measured it has lost nothing.
        return records[0]
    candidates = list(dict.fromkeys(r.point for r in records))
    measured = len(candidates)
    others = [families.rule(task, hardware)]
    if cpu in models:
        others.append(models[cpu].best(task))
    candidates += [p for p in dict.fromkeys(others) if p not in candidates]
    known = {r.cpu: r for r in reversed(records)}
    asked = [cpu] if cpu in models else list(dict.fromkeys([*known, *models]))
    losses = [_losses(task, candidates, known.get(c), models.get(c), hardware) for c in asked]
    total = [sum(of_one) / len(asked) for of_one in zip(*losses, strict=True)]
    total = [t + _TRUST * (i >= measured) for i, t in enumerate(total)]
    best = candidates[total.index(min(total))]
    return next((r for r in records if r.point == best), best)


def _losses(
    task: Task,
    candidates: Sequence[Point],
    record: Record | None,
    model: CostModel | None,
    hardware: Hardware | Gpu,
) -> list[float]:
    """Of each candidate on one CPU."""
    found = [_UNKNOWN] * len(candidates)
    if model is not None:
        times = model.predict(task, candidates)
        best = times[candidates.index(record.point)] if record else times.min()
        found = [max(0.0, math.log(t / best)) for t in times]
    if record is None:
        return found
    exact = {record.point: 0.0}
    if record.rule_seconds:
        rule = families.rule(record.task, hardware)
        exact.setdefault(rule, max(0.0, math.log(record.rule_seconds / record.seconds)))
    return [exact.get(p, loss) for p, loss in zip(candidates, found, strict=True)]
