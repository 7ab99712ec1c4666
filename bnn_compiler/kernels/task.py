"""A convolution with everything around it: what a schedule is chosen, tuned and recorded for."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import tvm_ffi
from tvm import tirx

from bnn_compiler.kernels import families
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.target import Hardware, Target


@dataclass(frozen=True)
class Task:
    """A workload, its epilogue, and the layouts of the epilogue's operands (None: a vector)."""

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
        return Task(
            ConvWorkload(**{**work, "x": _layout(work["x"])}),
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
        kind = {"uint32": "binary", "int16": "bytes"}.get(self.work.x.dtype, "float")
        if self.work.winograd:
            kind = "winograd"
        groups = f" g{self.work.groups}" if self.work.groups > 1 else ""
        batch = f"{n}x" if n > 1 else ""
        stride = f"/{self.work.strides[0]}" if self.work.strides != (1, 1) else ""
        return f"{kind} {kh}x{kw}{stride} {self.work.x.shape[3]}->{o}{groups} @{batch}{h}x{w}"

    def as_float(self) -> "Task":
        """The same convolution on -1.0 and +1.0, which is faster where words are mostly empty."""
        return replace(self, work=replace(self.work, x=replace(self.work.x, dtype="float32")))

    def of_one_image(self) -> "Task":
        """The same for the first image of a batch."""
        work = self.work
        one = replace(work, x=work.x.of_one_image(), shape=(1, *work.shape[1:]))
        tensors = tuple(None if t is None else t.of_one_image() for t in self.tensors)
        return replace(self, work=one, tensors=tensors)

    def space(self, hardware: Hardware) -> list[Point]:
        """Every schedule."""
        return families.space(self.work, hardware)

    def function(self, point: Point) -> tirx.PrimFunc:
        """The kernel with the schedule ``point``."""
        family = families.FAMILIES[point.family]
        function: tirx.PrimFunc = family.function(
            self.work, point, self.epilogue, list(self.tensors)
        )
        return function


def digest(function: tirx.PrimFunc, target: Target) -> str:
    """16 hexadecimal digits that change with a kernel and with what makes it machine code."""
    code = tvm_ffi.structural_hash(function, map_free_vars=True) % 2**64
    text = json.dumps([code, codegen.VERSION, target.tvm], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _layout(data: dict[str, Any]) -> Layout:
    return Layout(**_tuples(data))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the dataclasses have tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
