"""What a plan costs: seconds on a target, or what its kernels count up to.

seconds   what the target's latency model predicts for a whole run
FLOPs     multiply-accumulates on floats or bytes (what the papers call FLOPs)
BOPs      multiply-accumulates on bits
OPs       FLOPs + BOPs / 64, the papers' sum
bytes     weights as they are packed: bits in words of 32, outputs in vectors of 16 (of a
          convolution by minimal filtering, its weights before they are transformed)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.search.plans import Plan, key

Float = NDArray[np.float64]
#: Plans whose kernels' sums are remembered.
_MOST = 100_000


class Costs(Protocol):
    """A quantity of plans; the same plan always costs the same."""

    @property
    def name(self) -> str:
        """What is counted."""

    @property
    def unit(self) -> str:
        """Its unit: "s", "B", "FLOPs", "BOPs" or "OPs"."""

    def of(self, plans: Sequence[Plan]) -> Float:
        """float64 [plans]."""


class Space(Protocol):
    """Of a latency.PlanSpace, what counting needs."""

    def kernels(self, plan: Plan) -> tuple[Any, ...]:
        """The kernels of the cropped network."""


class Model(Protocol):
    """Of a latency.LatencyModel, what is asked."""

    def predict(self, space: Any, plans: Sequence[Plan]) -> Any:
        """``seconds``, float64 [plans]."""


@dataclass(frozen=True)
class Seconds:
    """Predicted time of one run."""

    space: Any
    model: Model
    name: str = "time"
    unit: str = "s"

    def of(self, plans: Sequence[Plan]) -> Float:
        """Seconds [plans]."""
        return np.asarray(self.model.predict(self.space, plans).seconds, np.float64)


def macs(kernel: Any) -> int:
    """Multiply-accumulates of a kernel; 0 for pools and for what only moves data."""
    work = kernel.task.work if kernel.op in _MIXING else None
    return 0 if work is None else int(work.macs)


def flops(kernel: Any) -> float:
    """Multiply-accumulates that are not on bits."""
    return 0.0 if _binary(kernel) else float(macs(kernel))


def bops(kernel: Any) -> float:
    """Multiply-accumulates on bits."""
    return float(macs(kernel)) if _binary(kernel) else 0.0


def ops(kernel: Any) -> float:
    """FLOPs + BOPs / 64."""
    return flops(kernel) + bops(kernel) / 64


def weight_bytes(kernel: Any) -> float:
    """Packed weights and the epilogue's vectors, which are padded to whole vectors of 16."""
    outputs = -(-int(kernel.writes[0].shape[3]) // 16) * 16
    vectors = 4.0 * outputs * sum(t is None for t in kernel.task.tensors)
    if not macs(kernel):
        return vectors
    work = kernel.task.work
    inputs, taps = int(work.x.shape[3]) // int(work.groups), int(np.prod(work.kernel))
    row = -(-inputs // 32) * 4 if _binary(kernel) else inputs * int(work.x.itemsize)
    return vectors + outputs * taps * row


#: Operators that multiply by weights.
_MIXING = ("conv2d", "float_conv2d", "byte_conv2d", "winograd_conv2d")


def _binary(kernel: Any) -> bool:
    return bool(macs(kernel)) and bool(kernel.task.work.is_binary)


@dataclass(frozen=True)
class Counted:
    """The sum of ``count`` over the kernels of a plan."""

    name: str
    unit: str
    space: Space
    count: Callable[[Any], float]
    _known: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def of(self, plans: Sequence[Plan]) -> Float:
        """In ``unit`` [plans]."""
        return np.array([self._one(p) for p in plans], np.float64)

    def _one(self, plan: Plan) -> float:
        name = key(plan)
        if name not in self._known:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[name] = sum(self.count(k) for k in self.space.kernels(plan))
        return self._known[name]


#: Unit -> the name of what is counted and how.
COUNTS: dict[str, tuple[str, Callable[[Any], float]]] = {
    "FLOPs": ("float arithmetic", flops),
    "BOPs": ("binary arithmetic", bops),
    "OPs": ("arithmetic", ops),
    "B": ("weights", weight_bytes),
}


def counted(unit: str, space: Space) -> Counted:
    """The costs of one of ``COUNTS``."""
    name, count = COUNTS[unit]
    return Counted(name, unit, space, count)
