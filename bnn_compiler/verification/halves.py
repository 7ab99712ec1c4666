"""Steps in half precision: what the order of their sums explains, their errors from float32."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.frontend.oracle import Observation, Truth
from bnn_compiler.ops import half
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Step
from bnn_compiler.ops.graph import array, constant
from bnn_compiler.ops.reference import Float
from bnn_compiler.verification.report import HalfCheck


def is_half(step: Mapping[str, Any]) -> bool:
    """Whether a step of a manifest computes in half precision."""
    return str(step["op"]).removeprefix("bnn.") in half.NAMES


def any_half(manifest: Mapping[str, Any]) -> bool:
    """Whether a program computes or stores anything in half precision."""
    stored = any(b["dtype"] == "float16" for b in manifest["buffers"])
    return stored or any(map(is_half, manifest["steps"]))


def mismatches(
    call: relax.Call, index: int, found: NDArray[Any], values: Mapping[str, NDArray[Any]]
) -> int:
    """Elements of result ``index`` that no order of float32 sums explains.

    ``values`` are those of the graph by name.
    """
    args = [values[a.name] if constant(a) is None else array(a) for a in call.args]
    operator, count = ops.operator_of(call), ops.data_count(call)
    epilogue, operands = ops.epilogue_of(call), args[count:]
    sums = operator.meaning(call.attrs, *args[:count])
    # What the order of a sum moves is a share of the sum of its products' sizes.
    sizes = operator.meaning(call.attrs, *(np.abs(a) for a in args[:count]))
    away = np.float32(half.ORDER) * sizes
    value, low, high = sums, sums - away, sums + away
    for step in epilogue.steps:
        value, low, high = _interval(step, value, low, high, operands)
    out = epilogue.outputs[index]
    # Sums without a bound are explained by anything.
    bounded = np.isfinite(sizes)
    if out.is_bits:
        threshold = operands[out.threshold]
        sure = (low > threshold) | (high < threshold)
        return int(np.count_nonzero(bounded & sure & ((found > 0) != (value > threshold))))
    same = (found == value) | (np.isnan(found) & np.isnan(value))
    # Each step of the epilogue is rounded, too, and what is stored as a half.
    slack = np.abs(value) * np.float32(2.0**-10 if out.half else 2.0**-20)
    near = (found >= low - slack) & (found <= high + slack)
    return int(np.count_nonzero(bounded & ~(same | near)))


def _interval(
    step: Step, value: Float, low: Float, high: Float, operands: Sequence[Float]
) -> tuple[Float, Float, Float]:
    """What a step makes of a value and of everything between two others.

    It may turn back between them, at 0 or elsewhere: it is asked at several places, and a quarter
    is added for what lies between those.
    """
    with np.errstate(all="ignore"):
        shares = np.linspace(0, 1, 5, dtype=np.float32)
        turn: Float = np.clip(0 * low, low, high)
        places = [*(low + (high - low) * s for s in shares), turn]
        exact, *several = (step.apply(v, operands) for v in (value, *places))
        least, most = np.fmin.reduce([exact, *several]), np.fmax.reduce([exact, *several])
        more = (most - least) * np.float32(0.25)
        return exact, least - more, most + more


def error(name: str, found: NDArray[Any], truth: Truth) -> HalfCheck:
    """How far the values of a step on the framework's inputs are from the framework's."""
    wanted = truth.value.astype(np.float64)
    away = np.asarray(found, np.float64).reshape(wanted.shape) - wanted
    relative = float(np.sqrt((away**2).mean() / max((wanted**2).mean(), 1e-30)))
    return HalfCheck(name, found.size, float(np.abs(away).max(initial=0.0)), relative)


def widened(seen: Observation) -> Observation:
    """``seen`` with what rounding to halves may move each value by, and whatever it goes into."""

    def wider(truth: Truth) -> Truth:
        if truth.ambiguous is not None:
            return truth
        largest = truth.value if truth.margin is None else truth.margin
        more = half.ROUNDING * float(np.abs(largest).max(initial=0.0))
        return Truth(truth.value, truth.rounding + more, truth.margin)

    return Observation(
        [wider(t) for t in seen.module_outputs],
        [wider(t) for t in seen.outputs],
        {name: wider(t) for name, t in seen.values.items()},
        seen.decided_zeros,
    )


def names(steps: Sequence[Mapping[str, Any]], buffers: Sequence[Mapping[str, Any]]) -> set[str]:
    """What steps in half precision write."""
    written = {i for step in steps if is_half(step) for i in step["writes"]}
    return {str(b["name"]) for b in buffers if b["id"] in written}
