"""What a kernel takes on one target, for comparing forms of a layer: measured, else counted.

A record of this CPU says it. Elsewhere rough cycles (features.py) do, at the pace at which this
CPU's records took theirs, and the bytes of what is moved. Both are of a kernel alone: inside a
network it takes longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median

from bnn_compiler.cost import features
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.cost.records import Record
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.point import Foreign, Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware

#: Seconds of a cycle where nothing was measured.
_CYCLE = 1 / 3e9
#: Cycles for each that features.py counts, which has two vector instructions of any kind a cycle.
#: llvm-mca has one ``fmla`` a cycle on a Cortex-A72 and a Neoverse N1, and less on an A53. Without
#: a dot, x86 adds products of bytes on other ports than it multiplies them on: three a cycle.
_NEON_FMA, _X86_PAIRS = 2.0, 2 / 3
#: Bytes that a kernel without products moves in a cycle, and cycles of a call.
_BYTES, _CALL = 8.0, 300.0


@dataclass(frozen=True)
class Price:
    """``seconds``, from a "record" or counted "cycles"."""

    seconds: float
    source: str


@dataclass
class Prices:
    """Those of one target on one CPU."""

    schedules: Schedules
    _known: dict[Task, Price] = field(default_factory=dict)

    def task(self, task: Task) -> Price:
        """Of a convolution with the schedule that ``compile`` would choose."""
        if task not in self._known:
            choice = self.schedules.pick(task)
            own = choice.cpu in (self.schedules.cpu, "")
            if choice.source == "record" and choice.seconds is not None and own:
                self._known[task] = Price(choice.seconds, "record")
            else:
                cycles = self._cycles(task, choice.point)
                self._known[task] = Price(cycles * self.pace, "cycles")
        return self._known[task]

    def plain(self, moved: Sequence[Layout]) -> Price:
        """Of a kernel that changes or moves single elements, by the tensors it reads and writes."""
        cycles = _CALL + sum(layout.bytes for layout in moved) / _BYTES
        return Price(cycles * self.pace, "cycles")

    @cached_property
    def pace(self) -> float:
        """Seconds of a rough cycle: the median of this CPU's records of float convolutions, where
        products are what takes time; of others where there are none.
        """
        known = [*self.schedules.records.values(), *self.schedules.shipped.values()]
        own = [r for r in known if self.schedules.cpu and r.cpu == self.schedules.cpu]
        own = [r for r in own if not isinstance(r.point, Foreign)]
        floats = [r for r in own if r.task.work.x.storage is Storage.FLOAT32]
        paces = [self._pace(r) for r in floats or own]
        return median(paces) if paces else _CYCLE

    @property
    def about(self) -> str:
        """Where prices come from, in words."""
        cpu = self.schedules.cpu
        measured = any(p.source == "record" for p in self._known.values())
        counted = any(p.source == "cycles" for p in self._known.values())
        words = [f"records of {cpu}" if cpu else "records"] if measured else []
        words += ["counted cycles"] if counted else []
        return " and ".join(words) or "nothing to price"

    def _pace(self, record: Record) -> float:
        return record.seconds / self._cycles(record.task, record.point)

    def _cycles(self, task: Task, point: Point) -> float:
        hardware = self.schedules.target.cpu
        _, cycles = features.analyse([(task, [point])], hardware)
        reduction = _share(task.work.x.storage, hardware) * cycles.reduction
        return float(replace(cycles, reduction=reduction).total[0])


def _share(storage: Storage, hardware: Hardware) -> float:
    if storage is Storage.FLOAT32 and not hardware.pairs:
        return _NEON_FMA
    if storage is Storage.BYTES and hardware.pairs and not hardware.dot:
        return _X86_PAIRS
    return 1.0
