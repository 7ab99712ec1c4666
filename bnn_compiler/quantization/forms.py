"""Forms of a network, each with other layers on bytes: what they compute and what they take."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bnn_compiler.cost.price import Price, Prices
from bnn_compiler.kernels.task import Task
from bnn_compiler.network import Network
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.passes.quantize_rest import Range
from bnn_compiler.plan import plan
from bnn_compiler.plan.plan import Call
from bnn_compiler.plan.program import Buffer
from bnn_compiler.quantization.agreement import top1
from bnn_compiler.quantization.calibrate import Calibration
from bnn_compiler.quantization.forward import Forward, forward
from bnn_compiler.quantization.samples import Batch


@dataclass(frozen=True)
class Effect:
    """What a form does to the calibration samples, against the network in float.

    Of ``signs`` behind its layers on bytes ``flipped`` turn around; ``changed`` is the share of
    samples (of pixels, for a dense output) whose largest class is another.
    """

    signs: int
    flipped: int
    changed: float

    @property
    def share(self) -> float:
        """Of the signs, those that turn around."""
        return self.flipped / self.signs if self.signs else 0.0


@dataclass
class Forms:
    """The forms of ``network``; layers on bytes have the ranges of ``calibration``."""

    network: Network
    options: Options
    calibration: Calibration
    prices: Prices
    _graphs: dict[Options, Graph] = field(default_factory=dict)

    def ranges(self, layers: Collection[str]) -> tuple[Range, ...]:
        """Those of ``layers``, in the network's order."""
        return tuple(r for r in self.calibration.ranges if r.layer in layers)

    def seconds(self, layers: Collection[str]) -> float:
        """Of the kernels of the form with ``layers`` on bytes, each priced alone."""
        return sum(self._price(call).seconds for call in self.plan(layers).calls)

    def effects(
        self,
        forms: Sequence[Collection[str]],
        limit: float = np.inf,
        seen: Callable[[int], None] = lambda batches: None,
    ) -> list[Effect]:
        """Of each form on all samples; one whose changes are beyond ``limit`` may be left there.

        ``seen`` is told after each batch how many those are.
        """
        graphs = [self._exact(form) for form in forms]
        found = [_Sum() for _ in forms]
        base = self._exact(())
        total = sum(batch.count for batch in self.calibration.batches)
        for i, batch in enumerate(self.calibration.batches):
            shape = self.calibration.outputs[i].shape
            float32 = forward(base, batch.inputs)
            for graph, one in zip(graphs, found, strict=True):
                if one.effect(total).changed > limit:
                    continue
                one.add(batch, shape, float32, forward(graph, batch.inputs, float32.values))
            seen(i + 1)
        return [one.effect(total) for one in found]

    def plan(self, layers: Collection[str]) -> plan.Plan:
        """The kernels of a form."""
        return plan.plan(self._fused(self._with(layers)))

    def _exact(self, layers: Collection[str]) -> Graph:
        """Without reordered sums, which numpy would take long for."""
        return self._fused(replace(self._with(layers), allow_reorder=False, half=False))

    def _with(self, layers: Collection[str]) -> Options:
        return replace(self.options, int8=self.ranges(layers))

    def _fused(self, options: Options) -> Graph:
        if options not in self._graphs:
            self._graphs[options] = self.network.fused(options)
        return self._graphs[options]

    def _price(self, call: Call) -> Price:
        if isinstance(call.task, Task):
            return self.prices.task(call.task)
        tensors = [b for b in call.operands if isinstance(b, Buffer)]
        return self.prices.plain([b.layout for b in (*call.data, *tensors, *call.writes)])


@dataclass
class _Sum:
    """An effect over samples; ``changed`` counts samples."""

    signs: int = 0
    flipped: int = 0
    changed: float = 0.0

    def add(self, batch: Batch, shape: Sequence[int], base: Forward, found: Forward) -> None:
        """One batch; the first output is compared in the framework's ``shape``."""
        for name, value in found.signs.items():
            before = base.values.get(name)
            # What no layer on bytes has touched is the same array.
            if before is not None and before is not value and before.shape == value.shape:
                old, new = batch.of_samples(before), batch.of_samples(value)
                self.signs += new.size
                self.flipped += int(np.count_nonzero(old != new))
        old, new = (batch.of_samples(f.outputs[0].reshape(shape)) for f in (base, found))
        self.changed += batch.count * (1 - top1(new, old))

    def effect(self, total: int) -> Effect:
        """Of ``total`` samples."""
        # Shares of batches add up to whole samples but for their last bits.
        return Effect(self.signs, self.flipped, round(self.changed / total, 12))
