"""A fused Relax module becomes a Program: layouts, kernels, constants, calls."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tvm import relax, tirx

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import UnsupportedError
from bnn_compiler.kernels.cpu import channelwise, codegen, schedule
from bnn_compiler.kernels.layout import LANES, Layout, round_up
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import STEPS, Epilogue
from bnn_compiler.ops.graph import Graph, array, constant
from bnn_compiler.plan import choose
from bnn_compiler.plan.program import (
    Argument,
    Buffer,
    Program,
    Step,
    Weights,
    largest_live,
    plan_memory,
)


@dataclass(frozen=True)
class Halo:
    """What the convolutions that read a tensor need around it."""

    widths: tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: int = 0


@dataclass
class Lowering:
    """State of one lowering; ``functions`` holds each distinct kernel once."""

    graph: Graph
    schedules: Schedules
    prefix: str
    functions: dict[str, tirx.PrimFunc] = field(default_factory=dict)
    iterations: dict[str, int] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    steps: list[Step] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    env: dict[relax.Var, Any] = field(default_factory=dict)

    def run(self) -> Program:
        """Lower every binding in order."""
        inputs = [self._external(p) for p in self.graph.params]
        self.env.update(zip(self.graph.params, inputs, strict=True))
        for var, value in self.graph.values.items():
            self._lower(var, value)
        outputs = [self.env[v] for v in self.graph.outputs]
        for buffer, var in zip(outputs, self.graph.outputs, strict=True):
            buffer.kind, buffer.shape = "output", ops.shape_of(var)
        workspace = plan_memory(self.steps)
        live = largest_live(self.steps)
        return Program(
            inputs, outputs, self.buffers, self.steps, self.weights.data, workspace, live
        )

    # ---- buffers

    def _buffer(self, kind: str, name: str, layout: Layout, fill: int = 0) -> Buffer:
        buffer = Buffer(len(self.buffers), kind, name, layout, fill)
        self.buffers.append(buffer)
        return buffer

    def _external(self, var: relax.Var) -> Buffer:
        shape = ops.shape_of(var)
        full = (*shape, *(1,) * (4 - len(shape)))
        layout = Layout(full, str(var.ty.dtype), dense=True)  # type: ignore[arg-type]
        buffer = self._buffer("input", var.name, layout)
        buffer.shape = shape
        return buffer

    def _result(self, var: relax.Var, shape: Sequence[int], dtype: str) -> Buffer:
        halo = needed_halo(self.graph, var)
        n, h, w, c = shape
        return self._buffer("arena", var.name, Layout((n, h, w, c), dtype, halo.widths), halo.fill)

    # ---- bindings

    def _lower(self, var: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.TupleGetItem):
            self.env[var] = self.env[value.tuple_value][value.index]
        elif isinstance(value, relax.Var):
            self.env[var] = self.env[value]
        elif ops.is_op(value, "relax.reshape"):
            self.env[var] = self.env[value.args[0]]
        elif ops.is_op(value, "relax.permute_dims"):
            self._permute(var, value)
        elif ops.is_op(value, "relax.bnn.bits_max_pool2d"):
            self._bits_pool(var, value)
        elif ops.anchor_name(value):
            self._anchor(var, value)
        else:
            raise UnsupportedError(f"{var.name}: no kernel for {value.op}")

    def _permute(self, var: relax.Var, value: relax.Call) -> None:
        source = self.env[value.args[0]]
        axes = [int(v) for v in value.attrs.axes]
        if axes == [0, 2, 3, 1]:
            # A reshape in between names the same memory.
            n, c, h, w = ops.shape_of(value.args[0])
            dense = replace(source.layout, shape=(n, c, h, w))
            dtype = "int16" if source.layout.dtype == "uint8" else "float32"
            result = self._result(var, (n, h, w, c), dtype)
            users = [self.graph.values[u] for u in self.graph.users(var)]
            if dtype == "int16" and all(ops.anchor_name(u) == "byte_conv2d" for u in users):
                top, left, bottom, right = result.layout.halo
                # A row of an odd number of taps is read in pairs: one element too far.
                halo = (top, left, bottom, right + 1)
                result.layout = replace(result.layout, dense=True, halo=halo)
            elif c < LANES and all(_only_convolves(u, var) for u in users):
                result.layout = replace(result.layout, dense=True)
            function = channelwise.to_nhwc(dense, dtype)
            self._emit(var, "to_nhwc", function, [source], [], [result], key=None, unaligned=(0,))
        else:
            n, h, w, c = source.layout.shape
            result = self._buffer("arena", var.name, Layout((n, c, h, w), "float32", dense=True))
            function = channelwise.to_nchw(source.layout)
            self._emit(var, "to_nchw", function, [source], [], [result], key=None, unaligned=(1,))
        self.env[var] = result

    def _bits_pool(self, var: relax.Var, value: relax.Call) -> None:
        source = self.env[value.args[0]]
        shape = ops.value_shape(value)
        work = choose.window_work(value, source.layout, shape)
        result = self._result(var, shape, "uint32")
        constants = [array(value.args[1])]
        function = channelwise.bits_max_pool2d(work)
        self._emit(var, "bits_max_pool2d", function, [source], constants, [result], key=work)
        self.env[var] = result

    def _anchor(self, var: relax.Var, value: relax.Call) -> None:
        name = ops.anchor_name(value)
        epilogue = ops.epilogue_of(value)
        count = ops.data_count(value)
        shape = ops.anchor_shape(value)
        data = [self.env[a] for a in value.args[:count] if constant(a) is None]
        operands = list(value.args[count:])
        tensors = [self.env[a] if constant(a) is None else None for a in operands]
        layouts = tuple(b.layout if b is not None else None for b in tensors)
        request = choose.Request(value, tuple(b.layout for b in data), layouts, self.schedules)
        kernel = choose.KERNELS[name](request)
        vectors = _pad_vectors(operands, epilogue, shape[3])
        pointers = [
            b if b is not None else self.weights.add(v)
            for b, v in zip(tensors, vectors, strict=True)
        ]
        outputs = self._outputs(var, value, epilogue, shape)
        step = self._emit(
            var,
            name,
            kernel.make,
            [*data, *(b for b in tensors if b is not None)],
            [],
            outputs,
            order=[
                *data[:1],
                *(self.weights.add(c) for c in kernel.constants),
                *data[1:],
                *pointers,
            ],
            key=(kernel.key, epilogue, layouts),
            unaligned=(0,) if data and data[0].kind == "input" else (),
        )
        step.macs, step.products = kernel.macs, kernel.products
        step.schedule = {"source": kernel.source, "point": kernel.point}
        if kernel.float_ratio is not None:
            step.schedule["float_ratio"] = kernel.float_ratio
        step.fused = [STEPS[s.kind].report for s in epilogue.steps]
        if any(o.is_bits for o in epilogue.outputs):
            step.fused.append("sign")

    def _outputs(
        self, var: relax.Var, value: relax.Call, epilogue: Epilogue, shape: tuple[int, ...]
    ) -> list[Buffer]:
        items = _item_vars(self.graph, var, len(epilogue.outputs))
        results = []
        for item, out in zip(items, epilogue.outputs, strict=True):
            results.append(self._result(item, shape, "uint32" if out.is_bits else "float32"))
        self.env[var] = results[0] if len(results) == 1 else results
        return results

    def _emit(
        self,
        var: relax.Var,
        op: str,
        function: tirx.PrimFunc | Callable[[], tirx.PrimFunc],
        reads: list[Buffer],
        constants: list[np.ndarray],
        writes: list[Buffer],
        *,
        key: object,
        order: list[Buffer | int] | None = None,
        unaligned: tuple[int, ...] = (),
    ) -> Step:
        if order is None:
            order = [*reads, *(self.weights.add(c) for c in constants)]
        strides = {
            len(order) + i: b.layout.strides(2 if _is_uint16(op, b) else 1)
            for i, b in enumerate(writes)
            if not b.layout.dense or any(b.layout.halo)
        }
        layouts = [b.layout for b in [*reads, *writes]]
        text = repr((op, key, layouts, strides, unaligned, self.schedules.target.tvm))
        symbol = f"{self.prefix}_{op}_{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        if symbol not in self.functions:
            made = schedule.words(function) if isinstance(function, tirx.PrimFunc) else function()
            self.iterations[symbol] = codegen.parallel_extent(made)
            self.functions[symbol] = codegen.with_strides(made, strides, symbol, unaligned)
        arguments = [
            Argument(buffer=a)
            if isinstance(a, Buffer)
            else Argument(weights=a, size=self.weights.sizes[a])
            for a in order
        ] + [Argument(buffer=b, interior=True) for b in writes]
        attrs = self.graph.values[var].attrs
        keys = set(attrs.keys()) if ops.anchor_name(self.graph.values[var]) else set()
        name = str(attrs["layer"]) if "layer" in keys else var.name
        iterations = self.iterations[symbol]
        step = Step(name, f"bnn.{op}", symbol, arguments, reads, writes, iterations)
        step.schedule = {"source": "fixed", "point": {}}
        self.steps.append(step)
        return step


def _is_uint16(op: str, buffer: Buffer) -> bool:
    return buffer.layout.dtype == "uint32" and op != "bits_max_pool2d"


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


def _only_convolves(value: relax.Expr, var: relax.Var) -> bool:
    return ops.anchor_name(value) == "float_conv2d" and not any(
        a.same_as(var) for a in value.args[1:]
    )


def _pad_vectors(operands: list[relax.Expr], epilogue: Epilogue, channels: int) -> list[np.ndarray]:
    """Per-channel constants padded to whole vectors; a padded threshold is never reached.

    Tensor operands get an empty array.
    """
    lanes = round_up(channels, LANES)
    thresholds = {o.threshold for o in epilogue.outputs if o.is_bits}
    tensors = {i for s in epilogue.steps if s.reads_tensor for i in s.operands}
    padded: list[np.ndarray] = []
    for i, operand in enumerate(operands):
        if i in tensors:
            padded.append(np.empty(0, np.float32))
            continue
        rest = np.inf if i in thresholds else 0.0
        full = np.full(lanes, rest, np.float32)
        full[:channels] = array(operand)
        padded.append(full)
    return padded


def lower(
    graph: Graph, schedules: Schedules, prefix: str
) -> tuple[Program, dict[str, tirx.PrimFunc]]:
    """The program and its kernels by symbol."""
    lowering = Lowering(graph, schedules, prefix)
    return lowering.run(), lowering.functions
