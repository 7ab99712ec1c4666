"""What a kernel computes, with everything around it, as data: no weights, no schedule."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.workload import ConvWorkload, HalfWorkload
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage


@dataclass(frozen=True)
class Task:
    """A convolution: what a schedule is chosen, tuned and recorded for.

    ``tensors`` are the layouts of the epilogue's operands (None: a vector).
    """

    work: ConvWorkload
    epilogue: Epilogue
    tensors: tuple[Layout | None, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "work": asdict(self.work),
            **self.epilogue.attrs(),
            "tensors": [None if t is None else asdict(t) for t in self.tensors],
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Task":
        """The inverse. Raises KeyError or TypeError for anything else."""
        work = _tuples(data["work"])
        kind = HalfWorkload if "pool" in work else ConvWorkload
        return Task(
            kind(**{**work, "x": _layout(work["x"])}),
            Epilogue.parse(data["epilogue"], data["outputs"]),
            tuple(None if t is None else _layout(t) for t in data["tensors"]),
        )

    @cached_property
    def key(self) -> str:
        """What tells two tasks apart, as text."""
        return json.dumps(self.as_dict(), sort_keys=True)

    def __str__(self) -> str:
        n, h, w, o = self.work.shape
        kh, kw = self.work.kernel
        kinds = {Storage.BITS: "binary", Storage.INT16: "bytes", Storage.BYTES: "int8"}
        kind = kinds.get(self.work.x.storage, "float")
        if self.work.winograd:
            kind = "winograd"
        if isinstance(self.work, HalfWorkload):
            kind = "half"
        groups = f" g{self.work.groups}" if self.work.groups > 1 else ""
        batch = f"{n}x" if n > 1 else ""
        stride = f"/{self.work.strides[0]}" if self.work.strides != (1, 1) else ""
        return f"{kind} {kh}x{kw}{stride} {self.work.x.shape[3]}->{o}{groups} @{batch}{h}x{w}"

    def as_float(self) -> "Task":
        """The same convolution on -1.0 and +1.0, which is faster where words are mostly empty."""
        return replace(
            self, work=replace(self.work, x=replace(self.work.x, dtype=Storage.FLOAT32.dtype))
        )

    def whole(self) -> "Task":
        """The same on whole words and vectors, which is what is computed, whatever the channels.

        Equal ones have the same schedules and take the same time. What mixes channels of several
        counts (groups, shortcuts of other channels) is left as it is.
        """
        work = self.work
        n, h, w, outputs = work.shape
        depthwise = work.groups == work.x.shape[3] == outputs and not work.is_binary
        mixed = any(t is not None and t.shape[3] != outputs for t in self.tensors)
        if mixed or work.winograd or not (work.groups == 1 or depthwise):
            return self
        x, filled = work.x, round_up(outputs, LANES)
        if work.is_binary:
            word = x.storage.channels
            x = replace(x, shape=(*x.shape[:3], round_up(x.shape[3], word)))
        elif depthwise:
            x = x.whole()
        groups = filled if depthwise else 1
        if depthwise and x.shape[3] != filled:
            return self
        work = replace(work, x=x, shape=(n, h, w, filled), groups=groups)
        tensors = tuple(None if t is None else t.whole() for t in self.tensors)
        return replace(self, work=work, tensors=tensors)

    def of_batch(self, count: int) -> "Task":
        """The same for ``count`` images."""
        work = self.work
        other = replace(work, x=work.x.of_batch(count), shape=(count, *work.shape[1:]))
        tensors = tuple(None if t is None else t.of_batch(count) for t in self.tensors)
        return replace(self, work=other, tensors=tensors)


@dataclass(frozen=True)
class PlainTask:
    """A kernel that mixes no channels and has one schedule: a pool, a change of layout, and so on.

    ``op`` is the operator, ``data`` its inputs' layouts, ``work`` its window if it has one, and
    ``parameters`` its other attributes, as kernels/cpu/plain.py reads them.
    """

    op: str
    data: tuple[Layout, ...]
    work: ConvWorkload | None = None
    parameters: tuple[Any, ...] = ()
    epilogue: Epilogue = field(default_factory=Epilogue)
    tensors: tuple[Layout | None, ...] = ()

    def whole(self) -> "PlainTask":
        """The same on whole words and vectors."""
        data, work = tuple(x.whole() for x in self.data), self.work
        if work is not None:
            x, shape, groups = work.x.whole(), work.shape, work.groups
            filled = round_up(shape[3], LANES)
            work = replace(
                work,
                x=x,
                shape=(*shape[:3], filled),
                groups=filled if groups == shape[3] else groups,
            )
        tensors = tuple(None if t is None else t.whole() for t in self.tensors)
        return replace(self, data=data, work=work, tensors=tensors)

    def of_batch(self, count: int) -> "PlainTask":
        """The same for ``count`` images; its parameters must not depend on that."""
        data, work = tuple(x.of_batch(count) for x in self.data), self.work
        if work is not None:
            work = replace(work, x=work.x.of_batch(count), shape=(count, *work.shape[1:]))
        tensors = tuple(None if t is None else t.of_batch(count) for t in self.tensors)
        return replace(self, data=data, work=work, tensors=tensors)


def _layout(data: dict[str, Any]) -> Layout:
    return Layout(**_tuples(data))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the dataclasses have tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
