"""What binary layers would take in float32, where that may be less."""

import math
from dataclasses import replace

from bnn_compiler import families
from bnn_compiler.cost.model import CostModel
from bnn_compiler.cost.records import Record
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune.journal import Trial
from bnn_compiler.tune.workshop import Workshop

#: Channels of a group below which a word is so empty that float32 may be faster.
_FEW = 64


def with_float_times(
    found: dict[str, Record], model: CostModel | None, shop: Workshop
) -> dict[str, Record]:
    """Binary layers of few channels measured in float32 too, for ``profile`` to mention.

    The time is the best of the kernels that the compiler would choose from, had the layer been
    float: for a depthwise one that which mixes no channels, else the rule's and the model's.
    """
    target = shop.target
    few = {
        key: record
        for key, record in found.items()
        if record.task.work.is_binary
        and record.task.work.x.shape[3] // record.task.work.groups < _FEW
        and record.float_seconds is None
    }
    if not few:
        return found
    forms = {key: record.task.as_float() for key, record in few.items()}
    times = dict.fromkeys(forms.values(), math.inf)

    def ended(trial: Trial) -> None:
        times[trial.task] = min(times[trial.task], trial.seconds or math.inf)

    shop.measure([(form, p) for form in times for p in float_points(form, model, target)], ended)
    known = {
        key: replace(found[key], float_seconds=times[form])
        for key, form in forms.items()
        if times[form] < math.inf
    }
    return {**found, **known}


def float_points(form: Task, model: CostModel | None, target: Target) -> list[Point]:
    """What the compiler might choose for a float convolution without a record."""
    points = [families.rule(form, target.hardware)]
    if model is not None and len(families.space(form, target.hardware)) > 1:
        points.append(model.best(form))
    return list(dict.fromkeys(points))
