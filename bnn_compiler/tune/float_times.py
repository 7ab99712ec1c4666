"""What binary layers would take in float32, where that may be less."""

import math
from dataclasses import replace

from tvm.s_tir import meta_schedule as ms
from tvm.target import Target as TvmTarget

from bnn_compiler import families
from bnn_compiler.cost.model import CostModel
from bnn_compiler.cost.records import Record
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune.strategy import candidate
from bnn_compiler.tune.workers import Builder, Runner

#: Channels of a group below which a word is so empty that float32 may be faster.
_FEW = 64


def with_float_times(
    found: dict[str, Record], model: CostModel | None, builder: Builder, runner: Runner
) -> dict[str, Record]:
    """Binary layers of few channels measured in float32 too, for ``profile`` to mention.

    The time is the best of the kernels that the compiler would choose from, had the layer been
    float: for a depthwise one that which mixes no channels, else the rule's and the model's.
    """
    target = builder.device
    few = {
        key: record
        for key, record in found.items()
        if record.task.work.is_binary
        and record.task.work.x.shape[3] // record.task.work.groups < _FEW
        and record.float_seconds is None
    }
    if not few:
        return found
    forms = [
        (key, form, point)
        for key, record in few.items()
        for form in [record.task.as_float()]
        for point in float_points(form, model, target)
    ]
    candidates = [candidate(form, point) for _, form, point in forms]
    device = TvmTarget({**target.tvm, "num-cores": 1})
    built = builder.build([ms.builder.BuilderInput(c.sch.mod, device) for c in candidates])
    good = [
        (key, ms.runner.RunnerInput(b.artifact_path, "cpu", c.args_info))
        for (key, _, _), b, c in zip(forms, built, candidates, strict=True)
        if not b.error_msg
    ]
    futures = runner.run([program for _, program in good])
    for (key, _), future in zip(good, futures, strict=True):
        result = future.result()
        if not result.error_msg:
            before = found[key].float_seconds or math.inf
            seconds = min(before, *(float(s) for s in result.run_secs))
            found[key] = replace(found[key], float_seconds=seconds)
    return found


def float_points(form: Task, model: CostModel | None, target: Target) -> list[Point]:
    """What the compiler might choose for a float convolution without a record."""
    points = [families.rule(form, target.hardware)]
    if model is not None and len(families.space(form, target.hardware)) > 1:
        points.append(model.best(form))
    return list(dict.fromkeys(points))
