"""A kernel's sizes, taken out and put in again: a search asks for millions of kernels.

A kernel is a tree of frozen dataclasses. What of it does not depend on sizes is found once; a
kernel of other sizes is then some dictionaries, without the calls that `replace` makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.ops.epilogue import Epilogue

#: ("batch" | "size" | "groups", number)
Count = tuple[str, int]

#: A workload's class, places of its layout, shape and groups, and the rest.
_Work = tuple[type[ConvWorkload], int, int, int, dict[str, Any]]


@dataclass
class _Walk:
    """The sizes of a kernel in order, and the distinct layouts and windows that hold them.

    ``layouts`` are (the rest of a layout, where its sizes begin); equal ones with equal ``names``
    of their sizes are one object in every kernel.
    """

    names: Sequence[Any] | None
    counts: list[Count] = field(default_factory=list)
    layouts: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)

    def shape(self, shape: tuple[int, ...]) -> int:
        at = len(self.counts)
        self.counts += zip(("batch", "size", "size", "size"), shape, strict=True)
        return at

    def layout(self, layout: Layout) -> int:
        at, rest = self.shape(layout.shape), _rest(layout, "shape")
        named = tuple(self.names[at : at + 4]) if self.names is not None else at
        key = (layout.dtype, layout.halo, layout.dense, named)
        if key not in self.known:
            self.known[key] = len(self.layouts)
            self.layouts.append((rest, at))
        return self.known[key]

    def all(self, layouts: Sequence[Layout | None]) -> tuple[int, ...]:
        return tuple(-1 if x is None else self.layout(x) for x in layouts)

    def work(self, work: ConvWorkload | None) -> _Work | None:
        if work is None:
            return None
        x, shape, groups = self.layout(work.x), self.shape(work.shape), len(self.counts)
        self.counts.append(("groups", work.groups))
        return type(work), x, shape, groups, _rest(work, "x", "shape", "groups")


def _rest(value: Any, *sized: str) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value) if f.name not in sized}


class Substitution:
    """``kernel`` at any sizes; ``counts`` are its own.

    ``names`` [counts] are equal for sizes that are equal in all kernels to be made.
    """

    def __init__(self, kernel: Kernel, names: Sequence[Any] | None = None) -> None:
        walk, task = _Walk(names), kernel.task
        self._task = type(task)
        if isinstance(task, Task):
            self._data: tuple[int, ...] | None = None
            self._work = walk.work(task.work)
            rest = _rest(task, "work", "tensors")
        else:
            self._data = walk.all(task.data)
            self._work = walk.work(task.work)
            rest = _rest(task, "data", "work", "tensors")
        self._tensors = walk.all(task.tensors)
        self._reads, self._writes = walk.all(kernel.reads), walk.all(kernel.writes)
        self._rest, self._name, self._op = rest, kernel.name, kernel.op
        self._layouts, self.counts = walk.layouts, tuple(walk.counts)

    @property
    def value_channels(self) -> int:
        """Where ``counts`` has the channels of the results."""
        return self._layouts[self._writes[0]][1] + 3

    def tensor_channels(self, operand: int) -> int:
        """Where it has those of a tensor that the epilogue reads."""
        return self._layouts[self._tensors[operand]][1] + 3

    def __call__(self, sizes: Sequence[int], epilogue: Epilogue | None = None) -> Kernel:
        """The kernel with ``sizes`` in the places of ``counts``, perhaps another ``epilogue``."""
        made: list[Any] = []
        for rest, at in self._layouts:
            made.append(_new(Layout, rest, shape=tuple(sizes[at : at + 4])))
        # Index -1: no layout.
        made.append(None)
        own: dict[str, Any] = {"work": None, "tensors": tuple([made[i] for i in self._tensors])}
        if self._work is not None:
            kind, x, shape, groups, rest = self._work
            own["work"] = _new(
                kind,
                rest,
                x=made[x],
                shape=tuple(sizes[shape : shape + 4]),
                groups=sizes[groups],
            )
        if self._data is not None:
            own["data"] = tuple([made[i] for i in self._data])
        if epilogue is not None:
            own["epilogue"] = epilogue
        result: Kernel = _new(
            Kernel,
            {"name": self._name, "op": self._op},
            task=_new(self._task, self._rest, **own),
            reads=tuple([made[i] for i in self._reads]),
            writes=tuple([made[i] for i in self._writes]),
        )
        return result


def _new(kind: type[Any], rest: dict[str, Any], **own: Any) -> Any:
    """A frozen dataclass without the calls of its ``__init__``."""
    made = object.__new__(kind)
    made.__dict__.update(rest)
    made.__dict__.update(own)
    return made
