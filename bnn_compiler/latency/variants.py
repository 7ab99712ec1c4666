"""A planned network at random channel counts: programs to time, not promises.

Kernels of other counts are put in the places of the network's own, without importing anything.
Whether compiling the cropped network would fuse in the same way is not asked (PlanSpace knows): the
programs only have to be like those that compiling makes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.plan.plan import Call, Plan
from bnn_compiler.plan.program import Buffer

#: Plain tasks whose results do not have the channels of what they read.
_FIXED = (
    "to_nhwc", "to_nchw", "concat", "tile", "pad_channels", "tokens", "plain", "matmul", "general"
)  # fmt: skip
_LEAST = 4
#: Among counts, that of images, as a plan has it.
_BATCH = "batch"


@dataclass(frozen=True)
class Variants:
    """``groups``: full channel counts of the buffers that move together, by the name of the first.

    ``group`` is that of each buffer by its identifier; what has none keeps its channels.
    """

    plan: Plan
    groups: dict[str, int]
    group: dict[int, str]

    @staticmethod
    def of(plan: Plan) -> "Variants":
        """Group the buffers of a network."""
        ties = _Ties(plan)
        names: dict[int, str] = {}
        for buffer in plan.buffers:
            root = ties.root(buffer.id)
            if root not in ties.fixed_roots():
                names.setdefault(root, buffer.name)
        sizes = {names[root]: ties.sizes[root] for root in names}
        group = {b.id: names[ties.root(b.id)] for b in plan.buffers if ties.root(b.id) in names}
        return Variants(plan, sizes, group)

    def draw(self, random: Random, batches: Sequence[int] = ()) -> dict[str, int]:
        """Channels of each group, and "NAME.groups" of each grouped binary convolution.

        If there are ``batches``, "batch" is one of them.

        A third of the draws scale all channels nearly alike, as people do by hand; half of the
        counts are multiples of 16, and those that groups have to divide are multiples of 8 at
        least.
        """
        counts = {}
        alike = random.uniform(0.1, 1.0) if random.random() < 1 / 3 else None
        divided = {self.group.get(c.data[0].id) for c in self.plan.calls if _is_grouped(c)}
        for name, full in self.groups.items():
            share = random.uniform(0.08, 1.0)
            if alike is not None:
                share = min(1.0, alike * random.uniform(0.8, 1.25))
            count = max(_LEAST, round(full * share))
            if random.random() < 0.5:
                count = max(16, count // 16 * 16)
            elif name in divided:
                count = max(8, count // 8 * 8)
            counts[name] = min(full, count)
        for call in self.plan.calls:
            if _is_grouped(call):
                inputs, outputs = (
                    self._channels(b, counts) for b in (call.data[0], call.writes[0])
                )
                both = math.gcd(inputs, outputs)
                choices = [g for g in range(1, both + 1) if both % g == 0]
                counts[f"{call.name}.groups"] = random.choice(choices)
        if batches:
            counts[_BATCH] = random.choice(batches)
        return counts

    def kernels(self, counts: Mapping[str, int]) -> tuple[Kernel, ...]:
        """The kernels at ``counts``, as ``draw`` makes them; absent ones are full."""
        found = tuple(self._kernel(call, counts) for call in self.plan.calls)
        return tuple(k.of_batch(counts[_BATCH]) for k in found) if _BATCH in counts else found

    def _channels(self, buffer: Buffer, counts: Mapping[str, int]) -> int:
        full = buffer.layout.shape[3]
        name = self.group.get(buffer.id)
        if name is None:
            return full
        # A buffer may have a multiple of its group's channels: a tiled shortcut's sum.
        return full * counts.get(name, self.groups[name]) // self.groups[name]

    def _layout(self, buffer: Buffer, counts: Mapping[str, int]) -> Layout:
        n, h, w, _ = buffer.layout.shape
        return replace(buffer.layout, shape=(n, h, w, self._channels(buffer, counts)))

    def _kernel(self, call: Call, counts: Mapping[str, int]) -> Kernel:
        data = tuple(self._layout(b, counts) for b in call.data)
        writes = tuple(self._layout(b, counts) for b in call.writes)
        read = [self._layout(b, counts) for b in call.operands if isinstance(b, Buffer)]
        tensors = iter(read)
        task = replace(call.task, tensors=tuple(t and next(tensors) for t in call.task.tensors))
        work = None
        if call.task.work is not None:
            work = _work(call, data[0], writes[0].shape[3], counts)
        if isinstance(task, PlainTask):
            kept = task.data if task.op in _FIXED else data
            task = replace(task, data=kept, work=work)
        else:
            assert work is not None
            task = replace(task, work=work)
        return Kernel(call.name, call.op, task, (*data, *read), writes)


class _Ties:
    """Which buffers have equal channels, or a multiple; the root of a group has the fewest."""

    def __init__(self, plan: Plan) -> None:
        self._parent = {b.id: b.id for b in plan.buffers}
        self.sizes = {b.id: b.layout.shape[3] for b in plan.buffers}
        self._fixed = {b.id for b in (*plan.inputs, *plan.outputs)}
        for call in plan.calls:
            self._call(call)

    def root(self, buffer: int) -> int:
        while self._parent[buffer] != buffer:
            buffer = self._parent[buffer]
        return buffer

    def fixed_roots(self) -> set[int]:
        return {self.root(b) for b in self._fixed}

    def _call(self, call: Call) -> None:
        result = call.writes[0].id
        for buffer in (*call.writes[1:], *(b for b in call.operands if isinstance(b, Buffer))):
            self._tie(buffer.id, result)
        if call.op in _FIXED:
            self._fixed |= {b.id for b in (*call.data, *call.writes)}
        elif isinstance(call.task, PlainTask) or call.task.work.groups > 1:
            self._tie(call.data[0].id, result)

    def _tie(self, a: int, b: int) -> None:
        small, large = sorted((self.root(a), self.root(b)), key=lambda r: self.sizes[r])
        if self.sizes[large] % self.sizes[small]:
            self._fixed |= {small, large}
        self._parent[large] = small


def _is_grouped(call: Call) -> bool:
    return isinstance(call.task, Task) and call.task.work.is_binary and call.task.work.groups > 1


def _work(call: Call, x: Layout, channels: int, counts: Mapping[str, int]) -> ConvWorkload:
    work = call.task.work
    assert work is not None
    groups = work.groups
    if groups > 1:
        # Depthwise stays so, unless a binary one was drawn anew.
        depthwise = x.shape[3] if groups == work.x.shape[3] else math.gcd(groups, x.shape[3])
        groups = counts.get(f"{call.name}.groups", depthwise)
    # Minimal filtering reads the caller's image, whose layout here is another.
    image = work.x if work.winograd else x
    return replace(work, x=image, shape=(*work.shape[:3], channels), groups=groups)
