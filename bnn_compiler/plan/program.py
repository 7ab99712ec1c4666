"""A compiled network as data: buffers in one arena and the static sequence of kernel calls."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.runtime.manifest import ALIGN


@dataclass
class Buffer:
    """One tensor. ``kind``: arena, input, output; ``fill``: the bit that its halo holds.

    ``shape`` is what the caller sees, for an input or output; None is the layout's.
    """

    id: int
    kind: str
    name: str
    layout: Layout
    fill: int = 0
    offset: int = 0
    shape: tuple[int, ...] | None = None

    @property
    def external(self) -> list[int]:
        """The caller's shape: a matrix [N, F] is kept as [N, F, 1, 1] inside."""
        return list(self.layout.shape if self.shape is None else self.shape)

    @property
    def needs_fill(self) -> bool:
        """Halos are written on every run, as are half words that no kernel stores."""
        return any(self.layout.halo) or self.layout.has_half_word


@dataclass(frozen=True)
class Argument:
    """A pointer of a kernel call: a buffer's start, its interior, or an offset in the weights.

    ``size`` is the bytes of the constant at that offset.
    """

    buffer: Buffer | None = None
    interior: bool = False
    weights: int = 0
    size: int = 0


@dataclass
class Step:
    """One kernel call and what a profile says about it; threads share its ``iterations``.

    ``tile_rows`` are the rows of its AMX tiles, 0 of a kernel without. Of ``macs``
    multiply-accumulates ``products`` are computed.
    """

    name: str
    op: str
    kernel: str
    arguments: list[Argument]
    reads: list[Buffer]
    writes: list[Buffer]
    iterations: int = 1
    macs: int = 0
    products: int = 0
    fused: list[str] = field(default_factory=list)
    schedule: dict[str, object] = field(default_factory=dict)
    tile_rows: int = 0

    @property
    def traffic(self) -> dict[str, int]:
        """Bytes of the distinct buffers, halos included, and constants that the call touches."""
        constants = {a.weights: a.size for a in self.arguments if a.buffer is None}
        return {
            "bytes_read": sum({b.id: b.layout.bytes for b in self.reads}.values()),
            "bytes_written": sum({b.id: b.layout.bytes for b in self.writes}.values()),
            "bytes_weights": sum(constants.values()),
        }


@dataclass
class Program:
    """Everything the glue and the manifest need."""

    inputs: list[Buffer]
    outputs: list[Buffer]
    buffers: list[Buffer]
    steps: list[Step]
    weights: bytes | bytearray
    workspace: int = 0
    live: int = 0
    #: The same network for other batch sizes, with the same ``weights``.
    batches: dict[int, "Program"] = field(default_factory=dict)

    def named(self, name: str) -> "dict[str, Program]":
        """Itself and those of ``batches`` by what their functions begin with."""
        return {name: self, **{f"{name}_batch{n}": p for n, p in self.batches.items()}}


def largest_live(steps: list[Step]) -> int:
    """Bytes of the arena buffers alive at the worst step: no plan can do with less."""
    spans = _lifetimes(steps)
    return max(
        (
            sum(
                round_up(_room(b.layout), ALIGN)
                for b, (born, dies) in spans.values()
                if born <= at <= dies
            )
            for at in range(len(steps))
        ),
        default=0,
    )


def _room(layout: Layout) -> int:
    """Bytes to keep for a tensor: rows of bytes are read in fours (kernels/cpu/int8.py)."""
    in_fours = layout.dense and layout.storage is Storage.BYTES
    return layout.bytes + (3 if in_fours else 0)


def _lifetimes(steps: list[Step]) -> dict[int, tuple[Buffer, tuple[int, int]]]:
    """Each arena buffer with the first and last step that touches it."""
    spans: dict[int, tuple[Buffer, tuple[int, int]]] = {}
    for i, step in enumerate(steps):
        for buffer in step.reads + step.writes:
            if buffer.kind == "arena":
                first = spans[buffer.id][1][0] if buffer.id in spans else i
                spans[buffer.id] = (buffer, (first, i))
    return spans


class Weights:
    """The constant section, without duplicates, each array aligned to 64 bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sizes: dict[int, int] = {}
        self._known: dict[bytes, int] = {}

    def add(self, array: np.ndarray) -> int:
        """Byte offset of the array."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        key = hashlib.sha256(data).digest()
        if key not in self._known:
            self._known[key] = len(self.data)
            self.sizes[len(self.data)] = data.nbytes
            self.data += data
            self.data += bytes(round_up(data.nbytes, ALIGN) - data.nbytes)
        return self._known[key]


@dataclass(frozen=True)
class _Slot:
    """Memory of buffers that are never alive together, kept for them from ``born`` to ``dies``."""

    buffers: tuple[Buffer, ...]
    born: int
    dies: int

    @property
    def bytes(self) -> int:
        return _room(self.buffers[0].layout)


def plan_memory(steps: list[Step], *, keep_halos: bool = False) -> int:
    """Give every arena buffer an offset; the size of the arena in bytes.

    Largest first, each at the lowest offset where no buffer alive at the same time lies. With
    ``keep_halos`` a buffer that needs filling shares memory with those of its layout and fill
    alone: kernels write what is inside halos, so an arena that is filled once stays filled.
    """
    spans = _lifetimes(steps)
    kept = {i for i, (buffer, _) in spans.items() if keep_halos and buffer.needs_fill}
    slots = [_Slot((b,), *span) for i, (b, span) in spans.items() if i not in kept]
    slots += _kept_slots([spans[i] for i in kept], len(steps) - 1)
    placed: list[_Slot] = []
    for slot in sorted(slots, key=lambda s: (-s.bytes, s.buffers[0].id)):
        busy = sorted(
            (p.buffers[0].offset, p.buffers[0].offset + round_up(p.bytes, ALIGN))
            for p in placed
            if p.born <= slot.dies and slot.born <= p.dies
        )
        offset = 0
        for start, end in busy:
            if offset + slot.bytes <= start:
                break
            offset = max(offset, end)
        for buffer in slot.buffers:
            buffer.offset = offset
        placed.append(slot)
    ends = (round_up(s.buffers[0].offset + s.bytes, ALIGN) for s in placed)
    return max(ends, default=ALIGN)


def _kept_slots(spans: list[tuple[Buffer, tuple[int, int]]], last: int) -> list[_Slot]:
    """Slots from the first step to the last, for buffers with their first and last steps."""
    slots: dict[tuple[Layout, int], list[list[tuple[Buffer, int]]]] = {}
    for buffer, (born, dies) in sorted(spans, key=lambda s: s[1]):
        alike = slots.setdefault((buffer.layout, buffer.fill), [])
        for members in alike:
            if members[-1][1] < born:
                members.append((buffer, dies))
                break
        else:
            alike.append([(buffer, dies)])
    return [_Slot(tuple(b for b, _ in m), 0, last) for alike in slots.values() for m in alike]
