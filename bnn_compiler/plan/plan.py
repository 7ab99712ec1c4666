"""A fused Relax module becomes a Plan: buffers, halos and a task for every kernel, no schedule."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tvm import relax

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.graph import Graph, array, constant
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.plan import sizes, tasks
from bnn_compiler.plan.program import Buffer


@dataclass(frozen=True)
class Halo:
    """What the convolutions that read a tensor need around it."""

    widths: tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: int = 0


@dataclass(frozen=True)
class Call:
    """One kernel call: what it computes, for which layer, on which buffers.

    ``weights`` are the operator's constants, which follow the first of ``data`` once they are
    packed; ``operands`` the epilogue's, a vector of each padded to whole vectors. ``unaligned``
    pointers (by index) are the caller's. ``note`` is what a report says of the weights.
    """

    name: str
    op: str
    task: Task | PlainTask
    data: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    weights: tuple[relax.Expr, ...] = ()
    operands: tuple[Buffer | np.ndarray, ...] = ()
    unaligned: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What is computed and where it lies, for whatever schedules the kernels get."""

    inputs: list[Buffer]
    outputs: list[Buffer]
    buffers: list[Buffer]
    calls: list[Call]

    @property
    def tasks(self) -> dict[Task | PlainTask, int]:
        """The distinct tasks in order, and how often each occurs."""
        return dict(Counter(call.task for call in self.calls))


@dataclass
class _Planner:
    """State while a graph is gone through."""

    graph: Graph
    calls: list[Call] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    env: dict[relax.Var, Any] = field(default_factory=dict)
    #: How values lie that are another's memory.
    views: dict[relax.Var, Layout] = field(default_factory=dict)

    def run(self) -> Plan:
        """Plan every binding in order."""
        inputs = [self._external(p) for p in self.graph.params]
        self.env.update(zip(self.graph.params, inputs, strict=True))
        for var, value in self.graph.values.items():
            self._bind(var, value)
        outputs = [self.env[v] for v in self.graph.outputs]
        for buffer, var in zip(outputs, self.graph.outputs, strict=True):
            buffer.kind, buffer.shape = "output", ops.shape_of(var)
        return Plan(inputs, outputs, self.buffers, self.calls)

    # ---- buffers

    def _buffer(self, kind: str, name: str, layout: Layout, fill: int = 0) -> Buffer:
        buffer = Buffer(len(self.buffers), kind, name, layout, fill)
        self.buffers.append(buffer)
        return buffer

    def _external(self, var: relax.Var) -> Buffer:
        shape = ops.shape_of(var)
        full = (*shape, *(1,) * (4 - len(shape)))
        if len(shape) not in (2, 4):
            full = tasks.dense(shape).shape
        layout = Layout(full, str(var.ty.dtype), dense=True)  # type: ignore[arg-type]
        buffer = self._buffer("input", var.name, layout)
        buffer.shape = shape
        return buffer

    def _result(self, var: relax.Var, shape: Sequence[int], storage: Storage) -> Buffer:
        halo = needed_halo(self.graph, var)
        n, h, w, c = shape
        layout = Layout((n, h, w, c), storage.dtype, halo.widths)
        return self._buffer("arena", var.name, layout, halo.fill)

    # ---- bindings

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.TupleGetItem):
            self.env[var] = self.env[value.tuple_value][value.index]
        elif isinstance(value, relax.Var):
            self.env[var] = self.env[value]
        elif ops.is_op(value, "relax.reshape"):
            self.env[var] = self.env[value.args[0]]
        elif ops.is_op(value, "relax.permute_dims") or ops.is_op(value, "relax.bnn.image_bytes"):
            self._move(var, value)
        elif ops.is_op(value, "relax.bnn.bits_max_pool2d"):
            self._bits_pool(var, value)
        elif ops.is_op(value, "relax.bnn.general"):
            self._general(var, value)
        elif ops.is_op(value, "relax.bnn.plain"):
            self._plain(var, value)
        elif ops.anchor_name(value) == "tokens" and self._same_memory(var, value):
            pass
        elif ops.anchor_name(value):
            self._anchor(var, value)
        else:
            raise UnsupportedError(f"{var.name}: no kernel for {value.op}")

    def _move(self, var: relax.Var, value: relax.Call) -> None:
        if ops.is_op(value, "relax.bnn.image_bytes"):
            self._image_bytes(var, value)
        else:
            self._permute(var, value)

    def _permute(self, var: relax.Var, value: relax.Call) -> None:
        source = self.env[value.args[0]]
        layout = self._layout(value.args[0])
        axes = [int(v) for v in value.attrs.axes]
        if axes == [0, 2, 3, 1]:
            # A reshape in between names the same memory.
            n, c, h, w = ops.shape_of(value.args[0])
            dense = replace(layout, shape=(n, c, h, w), dense=True)
            users = [self.graph.values[u] for u in self.graph.users(var)]
            readers = {ops.anchor_name(u) for u in users}
            is_bytes = source.layout.storage is Storage.BYTES
            storage = Storage.INT16 if is_bytes else Storage.FLOAT32
            if readers == {"int8_conv2d"} and is_bytes:
                storage = Storage.BYTES
            result = self._result(var, (n, h, w, c), storage)
            if storage is Storage.BYTES:
                result.layout = _dense_rows(result.layout)
            elif is_bytes and readers == {"byte_conv2d"}:
                top, left, bottom, right = result.layout.halo
                # A row of an odd number of taps is read in pairs: one element too far.
                halo = (top, left, bottom, right + 1)
                result.layout = replace(result.layout, dense=True, halo=halo)
            elif c < LANES and all(_only_convolves(u, var) for u in users):
                result.layout = replace(result.layout, dense=True)
            task = PlainTask("to_nhwc", (dense,), parameters=(storage,))
            self._call(var, task, (source,), (result,), unaligned=(0,))
        else:
            n, h, w, c = layout.shape
            result = self._buffer(
                "arena", var.name, Layout((n, c, h, w), Storage.FLOAT32.dtype, dense=True)
            )
            task = PlainTask("to_nchw", (layout,))
            self._call(var, task, (source,), (result,), unaligned=(1,))
        self.env[var] = result

    def _image_bytes(self, var: relax.Var, value: relax.Call) -> None:
        source = self.env[value.args[0]]
        n, c, h, w = ops.shape_of(value.args[0])
        layout = replace(self._layout(value.args[0]), shape=(n, c, h, w), dense=True)
        result = self._result(var, (n, h, w, c), Storage.BYTES)
        result.layout = _dense_rows(result.layout)
        task = PlainTask("image_bytes", (layout,))
        self._call(var, task, (source,), (result,), weights=tuple(value.args[1:]), unaligned=(0,))
        self.env[var] = result

    def _bits_pool(self, var: relax.Var, value: relax.Call) -> None:
        source = self.env[value.args[0]]
        shape = ops.value_shape(value)
        work = tasks.window_work(value, source.layout, shape)
        result = self._result(var, shape, Storage.BITS)
        task = PlainTask("bits_max_pool2d", (source.layout,), work)
        self._call(var, task, (source,), (result,), weights=(value.args[1],))
        self.env[var] = result

    def _layout(self, expr: relax.Expr) -> Layout:
        layout: Layout = self.views.get(expr) or self.env[expr].layout
        return layout

    def _plain(self, var: relax.Var, value: relax.Call) -> None:
        source, layout = self.env[value.args[0]], self._layout(value.args[0])
        if layout.shape[3] == layout.channels and not any(layout.halo):
            self.env[var] = source
            return
        result = self._buffer("arena", var.name, tasks.dense(ops.shape_of(var)))
        self._call(var, PlainTask("plain", (layout,)), (source,), (result,))
        self.env[var] = result

    def _same_memory(self, var: relax.Var, value: relax.Call) -> bool:
        """Whether tokens are their source's memory; they are then."""
        layout = tasks.rows(value, self._layout(value.args[0]))
        source = self.env[value.args[0]]
        seen = Layout(ops.anchor_shape(value), Storage.FLOAT32.dtype)
        if (
            ops.epilogue_of(value) != Epilogue()
            or source.kind != "arena"
            or any(layout.halo)
            or layout.channels != seen.channels
            or any(needed_halo(self.graph, var).widths)
        ):
            return False
        self.env[var], self.views[var] = source, seen
        return True

    def _general(self, var: relax.Var, value: relax.Call) -> None:
        arguments = [self.env[a] if constant(a) is None else array(a) for a in value.args]
        layout = tasks.dense(ops.shape_of(var), str(var.ty.dtype))
        result = self._buffer("arena", var.name, layout)
        # Each may be the caller's.
        unaligned = tuple(range(len(arguments) + 1))
        task = tasks.general(value)
        self._call(var, task, (), (result,), operands=tuple(arguments), unaligned=unaligned)
        self.env[var] = result

    def _anchor(self, var: relax.Var, value: relax.Call) -> None:
        name = ops.anchor_name(value)
        epilogue = ops.epilogue_of(value)
        count = ops.data_count(value)
        shape = ops.anchor_shape(value)
        data = tuple(self.env[a] for a in value.args[:count] if constant(a) is None)
        weights = tuple(a for a in value.args[:count] if constant(a) is not None)
        operands = list(value.args[count:])
        tensors = [self.env[a] if constant(a) is None else None for a in operands]
        layouts = tuple(
            _tensor_layout(a) if b is None else self._layout(a)
            for a, b in zip(operands, tensors, strict=True)
        )
        stored = tuple(self._layout(a) for a in value.args[:count] if constant(a) is None)
        request = tasks.Request(value, stored, layouts)
        vectors = _pad_vectors(operands, epilogue, shape[3])
        self._call(
            var,
            tasks.TASKS[name](request),
            data,
            tuple(self._outputs(var, value, epilogue, shape)),
            weights=weights,
            operands=tuple(
                b if b is not None else v for b, v in zip(tensors, vectors, strict=True)
            ),
            unaligned=(0,) if data and data[0].kind == "input" else (),
        )

    def _call(
        self,
        var: relax.Var,
        task: Task | PlainTask,
        data: tuple[Buffer, ...],
        writes: tuple[Buffer, ...],
        *,
        weights: tuple[relax.Expr, ...] = (),
        operands: tuple[Buffer | np.ndarray, ...] = (),
        unaligned: tuple[int, ...] = (),
    ) -> None:
        value = self.graph.values[var]
        op = ops.anchor_name(value)
        keys = set(value.attrs.keys()) if op else set()
        name = str(value.attrs["layer"]) if "layer" in keys else var.name
        op = task.op if isinstance(task, PlainTask) else op
        note = str(value.attrs["weights"]) if "weights" in keys else ""
        self.calls.append(Call(name, op, task, data, writes, weights, operands, unaligned, note))

    def _outputs(
        self, var: relax.Var, value: relax.Call, epilogue: Epilogue, shape: tuple[int, ...]
    ) -> list[Buffer]:
        items = _item_vars(self.graph, var, len(epilogue.outputs))
        results = []
        for item, out in zip(items, epilogue.outputs, strict=True):
            results.append(self._result(item, shape, out.storage))
        self.env[var] = results[0] if len(results) == 1 else results
        return results


def _item_vars(graph: Graph, var: relax.Var, count: int) -> list[relax.Var]:
    """The variables that name each output of ``var``."""
    if count == 1:
        return [var]
    found = {}
    for user in graph.users(var):
        value = graph.values[user]
        if isinstance(value, relax.TupleGetItem):
            found[value.index] = user
    return [found[i] for i in range(count)]


def _aliases(graph: Graph, var: relax.Var) -> list[tuple[relax.Var, relax.Var]]:
    """(reader, name it reads by) of ``var``, through reshapes and renamings."""
    readers = []
    for user in graph.users(var):
        value = graph.values[user]
        if isinstance(value, relax.Var) or ops.is_op(value, "relax.reshape"):
            readers += _aliases(graph, user)
        else:
            readers.append((user, var))
    return readers


def needed_halo(graph: Graph, var: relax.Var) -> Halo:
    """The largest padding among the convolutions that read ``var``, and its fill word.

    Raises UnsupportedError if two of them pad with different bits.
    """
    widths, fills = [0, 0, 0, 0], set()
    for user, name in _aliases(graph, var):
        value = graph.values[user]
        if not ops.reads_halo(value) or not value.args[0].same_as(name):
            continue
        padding = [int(v) for v in value.attrs["padding"]]
        widths = [max(a, b) for a, b in zip(widths, padding, strict=True)]
        if any(padding):
            fills.add(
                1 if ops.anchor_name(value) == "conv2d" and value.attrs["pad_value"] == 1 else 0
            )
    if len(fills) > 1:
        raise UnsupportedError(
            f"{var.name}: convolutions that share this sign pad it with different values; give"
            " each its own sign"
        )
    return Halo((widths[0], widths[1], widths[2], widths[3]), max(fills, default=0))


def _dense_rows(layout: Layout) -> Layout:
    """Bytes of few channels as convolutions read them: four at a time, up to three too far."""
    if layout.shape[3] >= LANES:
        return layout
    top, left, bottom, right = layout.halo
    more = ceil_div(3, layout.shape[3])
    return replace(layout, dense=True, halo=(top, left, bottom, right + more))


def _only_convolves(value: relax.Expr, var: relax.Var) -> bool:
    return ops.anchor_name(value) == "float_conv2d" and not any(
        a.same_as(var) for a in value.args[1:]
    )


def _tensor_layout(operand: relax.Expr) -> Layout | None:
    """Where a constant tensor's elements lie; None for a vector."""
    shape = ops.shape_of(operand)
    if len(shape) != 4:
        return None
    n, h, w, c = shape
    return Layout((n, h, w, c), Storage.FLOAT32.dtype)


def _pad_vectors(operands: list[relax.Expr], epilogue: Epilogue, channels: int) -> list[np.ndarray]:
    """Per-channel constants padded to whole vectors; a padded threshold is never reached.

    Computed tensors get an empty array, constant ones are padded likewise.
    """
    lanes = round_up(channels, LANES)
    thresholds = {o.threshold for o in epilogue.outputs if o.is_bits}
    # Infinity equals that of a division by an unused channel; nothing equals NaN.
    unreached = np.nan if any(s.may_be_infinite for s in epilogue.steps) else np.inf
    tensors = {i for s in epilogue.steps if s.reads_tensor for i in s.operands}
    padded: list[np.ndarray] = []
    for i, operand in enumerate(operands):
        if i in tensors:
            known = constant(operand)
            rest = 0 if known is None else round_up(known.shape[3], LANES) - known.shape[3]
            whole = np.empty(0, np.float32) if known is None else known
            padded.append(np.pad(whole, [(0, 0)] * 3 + [(0, rest)]) if rest else whole)
            continue
        rest = unreached if i in thresholds else 0.0
        full = np.full(lanes, rest, np.float32)
        full[:channels] = array(operand)
        padded.append(full)
    return padded


def plan(graph: Graph) -> Plan:
    """The buffers and calls of a fused graph.

    Raises UnsupportedError for an operator without a kernel, for convolutions that need different
    halos around one tensor, or for a tensor too large for 32-bit indices.
    """
    found = _Planner(graph).run()
    sizes.check((c.name, b) for c in found.calls for b in (*c.data, *c.writes))
    return found
