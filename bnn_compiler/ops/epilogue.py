"""What happens to a kernel's value before it is stored, as data.

A fused operator is an anchor (a convolution, a pool, a plain read) that yields one float32 value
per output element, an epilogue (a chain of steps on that value) and outputs. Steps and outputs
refer by index to the call's operands: per-channel float32 vectors [C], or NHWC float32 tensors.

In the IR each is one string, so that a printed module reads well:

    epilogue=["affine:0:1", "add:2", "prelu:3"]   outputs=["float32", "bits>=:4", "bytes:5:6"]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.ops.functions import FUNCTIONS, Function, evaluate, operations
from bnn_compiler.ops.reference import Float, avg_pool2d, fma, to_bytes
from bnn_compiler.ops.storage import Storage
from bnn_compiler.ops.window import Window

Mask = NDArray[np.bool_]


def _no_literals(_: Any) -> tuple[float, ...]:
    return ()


@dataclass(frozen=True)
class StepKind:
    """What one kind of step is; its form as TE is in kernels/epilogue.py, under the same name.

    ``meaning`` (value, *operands, *params) computes it in numpy. ``report`` is what reports call
    it. It has ``operands`` operands, per-channel vectors or, if ``tensor``, one tensor, and
    ``params`` literals.

    ``falls`` (*operands) says in which channels it falls as the value rises, if it is monotone in
    every channel, else None. Steps that another value enters have no such rule.

    ``source`` is the Relax operator that becomes this step: its first argument is the value, the
    next ones are the operands, and ``literals`` (call) are the params.
    """

    meaning: Callable[..., Float]
    report: str
    operands: int = 0
    params: int = 0
    tensor: bool = False
    falls: Callable[..., Mask | bool | None] | None = None
    source: str = ""
    literals: Callable[[Any], tuple[float, ...]] = _no_literals


def _average2(t: Float) -> Float:
    return avg_pool2d(t, Window((2, 2), (2, 2)), True)


def _prelu(v: Float, slope: Float) -> Float:
    return np.where(v > 0, v, v * slope + np.float32(0)).astype(np.float32)


def _never(*_: Float) -> bool:
    return False


def _leading(t: Float, channels: int) -> Float:
    return t[..., :channels]


def _repeated(t: Float, channels: int) -> Float:
    return t[..., np.arange(channels) % t.shape[3]]


def _extended(t: Float, channels: int) -> Float:
    return np.pad(t, ((0, 0), (0, 0), (0, 0), (0, max(0, channels - t.shape[3]))))


def _product(v: Float, t: Float) -> Float:
    with np.errstate(all="ignore"):
        return v * t + np.float32(0)


def _quotient(v: Float, t: Float) -> Float:
    with np.errstate(all="ignore"):
        return v / t


def _smaller(v: Float, t: Float) -> Float:
    return np.where(t < v, t, v).astype(np.float32)


def _larger(v: Float, t: Float) -> Float:
    return np.where(t > v, t, v).astype(np.float32)


def _function(name: str, function: Function) -> StepKind:
    """The step that a relax.bnn.function of this name becomes."""
    falls = function.falls
    return StepKind(
        lambda v, *params: evaluate(name, v, params),
        name.replace("_", " "),
        params=function.params,
        falls=None if falls is None else lambda: bool(falls),
        literals=lambda call: tuple(float(p) for p in call.attrs["params"]),
    )


#: Every kind of step. ``bias`` is an affine map of scale 1, ``add_tile``, ``add_pad`` and those of
#: ``add_avg2`` are additions of what a tile, a pad or a pool makes: passes/fuse_epilogue.py sees
#: those. Of a tensor with more channels than v, each adds the leading ones; ``add`` and the steps
#: from ``multiply`` on repeat a tensor along dimensions of 1. Functions are steps of their names.
STEPS: dict[str, StepKind] = {
    # fma(v, scale[c], bias[c])
    "affine": StepKind(
        fma,
        "batch_norm",
        operands=2,
        falls=lambda scale, bias: scale < 0,
        source="relax.bnn.affine",
    ),
    # v + bias[c]
    "bias": StepKind(lambda v, b: v + b, "shift", operands=1, falls=_never),
    # v + t[n, y, x, c]
    "add": StepKind(
        lambda v, t: v + _leading(t, v.shape[3]),
        "shortcut",
        operands=1,
        tensor=True,
        source="relax.add",
    ),
    # v + t[n, y, x, c mod C(t)]
    "add_tile": StepKind(
        lambda v, t: v + _repeated(t, v.shape[3]),
        "tiled shortcut",
        operands=1,
        tensor=True,
    ),
    # v + (c < C(t) ? t[n, y, x, c] : 0)
    "add_pad": StepKind(
        lambda v, t: v + _extended(_leading(t, v.shape[3]), v.shape[3]),
        "padded shortcut",
        operands=1,
        tensor=True,
    ),
    # v + 2x2 stride-2 average of t
    "add_avg2": StepKind(
        lambda v, t: v + _leading(_average2(t), v.shape[3]),
        "pooled shortcut",
        operands=1,
        tensor=True,
    ),
    # v + 2x2 stride-2 average of t, at c mod C(t)
    "add_avg2_tile": StepKind(
        lambda v, t: v + _repeated(_average2(t), v.shape[3]),
        "pooled, tiled shortcut",
        operands=1,
        tensor=True,
    ),
    # v > 0 ? v : v * slope[c]
    "prelu": StepKind(
        _prelu,
        "prelu",
        operands=1,
        falls=lambda slope: False if np.all(slope >= 0) else None,
        source="relax.nn.prelu",
    ),
    # min(max(v, lo), hi)
    "clip": StepKind(
        lambda v, lo, hi: np.minimum(np.maximum(v, np.float32(lo)), np.float32(hi)),
        "clip",
        params=2,
        falls=_never,
        source="relax.clip",
        literals=lambda call: tuple(float(a.value) for a in call.args[1:3]),
    ),
    # v * t
    "multiply": StepKind(_product, "product", 1, tensor=True, source="relax.multiply"),
    # v / t
    "divide": StepKind(_quotient, "quotient", 1, tensor=True, source="relax.divide"),
    # t / v
    "divide_into": StepKind(lambda v, t: _quotient(t, v), "quotient", 1, tensor=True),
    # t < v ? t : v
    "minimum": StepKind(_smaller, "minimum", 1, tensor=True, source="relax.minimum"),
    # t > v ? t : v
    "maximum": StepKind(_larger, "maximum", 1, tensor=True, source="relax.maximum"),
    # -1, zero or +1, as float32
    "sign": StepKind(
        lambda v, zero: np.where(v == 0, np.float32(zero), np.sign(v)).astype(np.float32),
        "float sign",
        params=1,
        falls=_never,
        source="relax.bnn.sign",
        literals=lambda call: (float(call.attrs["zero"]),),
    ),
    **{name: _function(name, function) for name, function in FUNCTIONS.items()},
}

#: Operations on two tensors that change with their order: what they are in the other one.
EXCHANGED = {"divide": "divide_into"}


@dataclass(frozen=True)
class Step:
    """One step of an epilogue; ``operands`` are indices, ``params`` literals."""

    kind: str
    operands: tuple[int, ...] = ()
    params: tuple[float, ...] = ()

    @property
    def reads_tensor(self) -> bool:
        """Whether its operand is a tensor, not a per-channel vector."""
        return STEPS[self.kind].tensor

    @property
    def work(self) -> float:
        """How many operations of other steps, one each, a function is about."""
        return operations(self.kind, self.params) / 2 if self.kind in FUNCTIONS else 1.0

    @property
    def may_be_infinite(self) -> bool:
        """Whether it makes infinities or NaNs of finite values, such as those of unused lanes."""
        return self.kind in FUNCTIONS or "divide" in self.kind

    def apply(self, v: Float, operands: Sequence[Float]) -> Float:
        """Its value in numpy; ``operands`` are all of the call's."""
        kind = STEPS[self.kind]
        return kind.meaning(v, *(operands[i] for i in self.operands), *self.params)

    def __str__(self) -> str:
        return ":".join([self.kind, *map(str, self.operands), *(repr(p) for p in self.params)])

    @staticmethod
    def parse(text: str) -> "Step":
        """Read the form that ``str`` writes. Raises KeyError for an unknown kind."""
        kind, *rest = text.split(":")
        operands = STEPS[kind].operands
        return Step(
            kind, tuple(int(v) for v in rest[:operands]), tuple(float(v) for v in rest[operands:])
        )


@dataclass(frozen=True)
class Output:
    """One result: the value, its sign bits against a per-channel threshold, or bytes.

    ``compare`` is ">=" or ">": the bit of channel c is ``value compare operands[threshold][c]``.
    Bytes are ``to_bytes(value, operands[factor][c], operands[zero][c])`` (ops/reference.py). The
    value is float32, or the nearest ``half``.
    """

    compare: str = ""
    threshold: int = -1
    factor: int = -1
    zero: int = -1
    half: bool = False

    @property
    def is_bits(self) -> bool:
        return bool(self.compare)

    @property
    def is_bytes(self) -> bool:
        """Whether it is quantised."""
        return self.factor >= 0

    @property
    def storage(self) -> Storage:
        """What a stored element is."""
        if self.is_bits:
            return Storage.BITS
        if self.is_bytes:
            return Storage.BYTES
        return Storage.FLOAT16 if self.half else Storage.FLOAT32

    def behind(self, count: int) -> "Output":
        """The same where ``count`` operands come before its own."""
        if self.is_bits:
            return Output(self.compare, self.threshold + count)
        return Output("", -1, self.factor + count, self.zero + count) if self.is_bytes else self

    def __str__(self) -> str:
        if self.is_bytes:
            return f"bytes:{self.factor}:{self.zero}"
        if self.is_bits:
            return f"bits{self.compare}:{self.threshold}"
        return "float16" if self.half else "float32"

    @staticmethod
    def parse(text: str) -> "Output":
        """Read the form that ``str`` writes."""
        if text in ("float32", "float16"):
            return Output(half=text == "float16")
        kind, *operands = text.split(":")
        if kind == "bytes":
            factor, zero = map(int, operands)
            return Output(factor=factor, zero=zero)
        (threshold,) = map(int, operands)
        return Output(kind.removeprefix("bits"), threshold)


@dataclass(frozen=True)
class Epilogue:
    """Steps in order, then outputs, all on the same final value."""

    steps: tuple[Step, ...] = ()
    outputs: tuple[Output, ...] = (Output(),)

    def attrs(self) -> dict[str, list[str]]:
        """The two attributes of a Relax call."""
        return {"epilogue": [str(s) for s in self.steps], "outputs": [str(o) for o in self.outputs]}

    @staticmethod
    def parse(epilogue: list[str], outputs: list[str]) -> "Epilogue":
        """Read the two attributes back."""
        return Epilogue(
            tuple(Step.parse(str(s)) for s in epilogue),
            tuple(Output.parse(str(o)) for o in outputs),
        )

    def apply(self, value: NDArray[Any], operands: Sequence[Float]) -> list[NDArray[Any]]:
        """Every output on an anchor's ``value``, in numpy; bits come as int8 -1 / +1."""
        v = value.astype(np.float32)
        for step in self.steps:
            v = step.apply(v, operands)
        results: list[NDArray[Any]] = []
        for out in self.outputs:
            if out.is_bits:
                threshold = operands[out.threshold]
                bit = v >= threshold if out.compare == ">=" else v > threshold
                results.append(np.where(bit, 1, -1).astype(np.int8))
            elif out.is_bytes:
                results.append(to_bytes(v, operands[out.factor], operands[out.zero]))
            elif out.half:
                with np.errstate(over="ignore"):
                    results.append(v.astype(np.float16).astype(np.float32))
            else:
                results.append(v)
        return results
