"""Steps on bytes: what they mean on what they read, and how far that is from the float network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.frontend.oracle import Truth
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Output
from bnn_compiler.ops.graph import Graph, array, constant
from bnn_compiler.ops.reference import to_bytes
from bnn_compiler.verification.report import Int8Check, LayerCheck

#: Steps whose meaning is their own: the float network has no such value.
EXACT = ("bnn.int8_conv2d", "bnn.image_bytes")


@dataclass(frozen=True)
class Meanings:
    """The calls of a fused graph by the names of their results, with the result's index."""

    graph: Graph
    calls: Mapping[str, tuple[relax.Call, int]]

    @staticmethod
    def of(graph: Graph) -> "Meanings":
        """Of every call."""
        calls = {}
        for var, value in graph.values.items():
            if isinstance(value, relax.TupleGetItem):
                calls[var.name] = (graph.values[value.tuple_value], value.index)
            elif isinstance(value, relax.Call):
                calls[var.name] = (value, 0)
        return Meanings(graph, calls)

    def results(
        self, names: Sequence[str], held: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """The results ``names`` of one call that reads ``held``, by name."""
        call, _ = self.calls[names[0]]
        values = {a: self._value(a, held) for a in call.args if constant(a) is None}
        found = evaluate.run_call(call, values)
        several = found if isinstance(found, list) else [found]
        return {name: several[self.calls[name][1]] for name in names}

    def _value(self, expr: relax.Expr, held: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Of a variable, which may be another's memory under another name."""
        var = expr
        while var.name not in held:
            value = self.graph.values[var]
            var = value if isinstance(value, relax.Var) else value.args[0]
        return held[var.name].reshape(ops.shape_of(expr))

    def bytes_of(self, name: str, values: Mapping[str, Truth]) -> "Bytes | None":
        """What the framework's value would be in the bytes ``name``, where it is known."""
        truth = values.get(name.rpartition("__")[0])
        call, index = self.calls.get(name, (None, 0))
        if truth is None or call is None or not ops.anchor_name(call):
            return None
        out: Output = ops.epilogue_of(call).outputs[index]
        if not out.is_bytes:
            return None
        operands = call.args[ops.data_count(call) :]
        return Bytes(truth, array(operands[out.factor]), array(operands[out.zero]))


@dataclass(frozen=True)
class Bytes:
    """A value of the framework's and how it is quantised: by vectors of its channels."""

    truth: Truth
    factor: NDArray[np.float32]
    zero: NDArray[np.float32]

    @property
    def value(self) -> NDArray[np.uint8]:
        """As bytes."""
        return to_bytes(self.truth.value, self.factor, self.zero)

    def back(self, found: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What bytes stand for."""
        exact = (found.reshape(self.truth.value.shape) - self.zero) / self.factor
        return np.asarray(exact, np.float32)

    def judge(self, name: str, found: NDArray[np.uint8]) -> LayerCheck:
        """A byte is right if what rounding explains of its value makes it."""
        exact = self.truth.value.astype(np.float64) * self.factor + self.zero
        # A NaN is byte 0.
        inside = np.nan_to_num(np.clip(exact, 0, 255))
        away = np.abs(inside - found.reshape(exact.shape)) - 0.5
        # The product and the sum are rounded to float32 once.
        difference = np.maximum(away - 2.0**-16, 0) / self.factor
        decided = 0
        if self.truth.ambiguous is not None:
            decided = int(np.count_nonzero(difference[self.truth.ambiguous]))
            difference[self.truth.ambiguous] = 0
        largest, rounding = float(difference.max(initial=0.0)), self.truth.rounding
        wrong = int(np.count_nonzero(~(difference <= rounding)))
        share = largest / rounding if rounding else float(largest > 0)
        return LayerCheck(name, found.size, largest, share, wrong, decided)


def compare(
    name: str,
    found: NDArray[Any],
    meaning: NDArray[Any],
    truth: Truth | None,
    narrow: Bytes | None = None,
) -> Int8Check:
    """``found`` with its meaning, and that with the float network's value where there is one.

    Bytes are ``narrow``.
    """
    same = (found == meaning) | (np.isnan(found) & np.isnan(meaning))
    difference = error = 0.0
    if narrow is not None:
        meaning, truth = narrow.back(meaning), narrow.truth
    if truth is not None and truth.value.size == meaning.size and meaning.dtype == np.float32:
        wanted = truth.value.reshape(meaning.shape).astype(np.float64)
        away = meaning - wanted
        difference = float(np.abs(away).max(initial=0.0))
        error = float(np.sqrt((away**2).mean() / max((wanted**2).mean(), 1e-30)))
    return Int8Check(name, found.size, int(np.count_nonzero(~same)), difference, error)
