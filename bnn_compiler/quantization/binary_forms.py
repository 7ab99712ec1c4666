"""Binary layers that another form of products might beat: few channels leave words empty."""

from dataclasses import replace

from bnn_compiler.cost.price import Prices
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.plan.plan import Plan

#: A share of the time that is worth a line; prices are no better than that.
_WORTH = 0.8


def notes(plan: Plan, prices: Prices) -> list[str]:
    """A line for each binary layer that float32 or bytes would be faster for, by ``prices``.

    Its choice of popcount, table or tiles is its schedule's.
    """
    lines = []
    for call in plan.calls:
        if not isinstance(call.task, Task) or not call.task.work.is_binary:
            continue
        own = prices.task(call.task).seconds
        others = {name: prices.task(task).seconds for name, task in _forms(call.task).items()}
        measured = prices.schedules.pick(call.task)
        if measured.float_seconds and prices.task(call.task).source == "record":
            others["float32"] = measured.float_seconds
        best = min(others, key=others.__getitem__)
        if others[best] < _WORTH * own:
            lines.append(
                f"{call.name}: as {best} it might take {1e6 * others[best]:.1f} us where signs take"
                f" {1e6 * own:.1f}: {call.task}"
            )
    return lines


def _forms(task: Task) -> dict[str, Task]:
    """The same convolution of -1 and +1 as other numbers."""
    x = replace(task.work.x, dtype=Storage.BYTES.dtype)
    return {"float32": task.as_float(), "int8": replace(task, work=replace(task.work, x=x))}
