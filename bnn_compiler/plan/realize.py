"""A Plan becomes a Program: each task gets its schedule, its kernel, and its packed constants."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import tirx

from bnn_compiler import families
from bnn_compiler.cost.pick import Choice, Schedules
from bnn_compiler.kernels.cpu.codegen import with_strides
from bnn_compiler.kernels.cpu.plain import constants as plain_constants
from bnn_compiler.kernels.cpu.tiles import tile_rows
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.kernels.workload import HalfWorkload
from bnn_compiler.ops.epilogue import STEPS
from bnn_compiler.ops.graph import array
from bnn_compiler.ops.storage import Storage
from bnn_compiler.plan.machine import MACHINES, Machine
from bnn_compiler.plan.plan import Call, Plan
from bnn_compiler.plan.program import (
    Argument,
    Buffer,
    Program,
    Step,
    Weights,
    largest_live,
    plan_memory,
)


@dataclass
class _Realization:
    """State while calls become steps; ``functions`` holds each distinct kernel once.

    ``fixed`` are its parameters that are constants wherever it is called.
    """

    schedules: Schedules
    machine: Machine
    prefix: str
    batch: tuple[int, int] | None = None
    functions: dict[str, tirx.PrimFunc] = field(default_factory=dict)
    iterations: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, set[int]] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    steps: list[Step] = field(default_factory=list)

    def add(self, call: Call) -> None:
        """One step."""
        task = call.task
        choice = None if isinstance(task, PlainTask) else self._pick(task)
        # Before the constants: what is packed first lies first.
        operands = [v if isinstance(v, Buffer) else self.weights.add(v) for v in call.operands]
        constants = [self.weights.add(c) for c in _constants(call, choice)]
        order = [*call.data[:1], *constants, *call.data[1:], *operands]
        fixed = tuple(i for i, a in enumerate(order) if not isinstance(a, Buffer))
        symbol = self._kernel(call, choice, len(order), fixed)
        arguments = [
            Argument(buffer=a)
            if isinstance(a, Buffer)
            else Argument(weights=a, size=self.weights.sizes[a])
            for a in order
        ] + [Argument(buffer=b, interior=True) for b in call.writes]
        reads = [*call.data, *(b for b in operands if isinstance(b, Buffer))]
        iterations = self.iterations[symbol]
        step = Step(
            call.name, f"bnn.{call.op}", symbol, arguments, reads, list(call.writes), iterations
        )
        if isinstance(task, Task):
            step.macs, step.products = task.work.macs, task.work.products
        elif task.op == "matmul":
            step.macs = step.products = _products(task)
        step.schedule = _describe(choice)
        step.tile_rows = tile_rows(self.functions[symbol])
        step.fused = [STEPS[s.kind].report for s in task.epilogue.steps]
        if isinstance(task.work, HalfWorkload) and task.work.pool:
            step.fused[:0] = [STEPS["affine"].report, "max_pool"]
        if any(o.is_bits for o in task.epilogue.outputs):
            step.fused.append("sign")
        if any(o.is_bytes for o in task.epilogue.outputs):
            step.fused.append("quantize")
        if call.note:
            step.fused.insert(0, call.note)
        if isinstance(task, PlainTask) and task.op == "general":
            step.fused = list(task.parameters[1])
        self.steps.append(step)

    def _pick(self, task: Task) -> Choice:
        if self.batch is None or self.batch[0] == self.batch[1]:
            return self.schedules.pick(task)
        return self.schedules.pick_like(task, *self.batch)

    def _kernel(
        self, call: Call, choice: Choice | None, inputs: int, fixed: tuple[int, ...]
    ) -> str:
        """The symbol of the call's kernel; its outputs follow ``inputs`` parameters.

        Of these ``fixed`` are constants.
        """
        strides = {
            inputs + i: b.layout.strides(self.machine.per_word if _is_packed(call.op, b) else 1)
            for i, b in enumerate(call.writes)
            if not b.layout.dense or any(b.layout.halo)
        }
        point = choice.point if choice else None
        key = (call.op, call.task, point, strides, call.unaligned, self.schedules.target.tvm)
        symbol = f"{self.prefix}_{call.op}_{hashlib.sha256(repr(key).encode()).hexdigest()[:10]}"
        if symbol not in self.functions:
            made = self._function(call.task, choice)
            self.iterations[symbol] = self.machine.iterations(made)
            self.functions[symbol] = with_strides(made, strides, symbol, call.unaligned)
        # What one call has from a constant, another may have from a kernel.
        known = self.fixed[symbol] = self.fixed.get(symbol, {*fixed}) & {*fixed}
        self.functions[symbol] = self.machine.with_constants(self.functions[symbol], known)
        return symbol

    def _function(self, task: Task | PlainTask, choice: Choice | None) -> tirx.PrimFunc:
        if isinstance(task, PlainTask):
            return self.machine.plain(task)
        assert choice is not None
        return choice.function


def _constants(call: Call, choice: Choice | None) -> list[np.ndarray]:
    weights = [array(w) for w in call.weights]
    if isinstance(call.task, PlainTask):
        return plain_constants(call.task, weights)
    assert choice is not None
    return families.constants(call.task, choice.point, weights)


def _products(task: PlainTask) -> int:
    """Products of bits of a matmul."""
    (n, h, rows, k), (_, _, columns, _) = (x.shape for x in task.data)
    return n * h * rows * columns * k


def _describe(choice: Choice | None) -> dict[str, object]:
    """What a profile says about the schedule."""
    if choice is None or choice.source == "fixed":
        return {"source": "fixed", "point": {}}
    found: dict[str, object] = {"source": choice.source, "point": choice.point.as_dict()}
    if choice.cpu:
        found["cpu"] = choice.cpu
    if choice.float_seconds and choice.seconds:
        found["float_ratio"] = choice.float_seconds / choice.seconds
    return found


def _is_packed(op: str, buffer: Buffer) -> bool:
    return buffer.layout.storage is Storage.BITS and op != "bits_max_pool2d"


def realize(
    plan: Plan,
    schedules: Schedules,
    prefix: str,
    weights: Weights | None = None,
    batch: tuple[int, int] | None = None,
) -> tuple[Program, dict[str, tirx.PrimFunc]]:
    """The program and its kernels by symbol; ``plan``'s buffers get their places in the arena.

    Its constants join ``weights``. If it is for the first ``batch``, kernels have the schedules of
    the second where they can.
    """
    machine = MACHINES[schedules.target.hardware.kind]
    held = Weights() if weights is None else weights
    found = _Realization(schedules, machine, prefix, batch, weights=held)
    for call in plan.calls:
        found.add(call)
    # A GPU fills halos once, not on every run: that would be a launch for each.
    once = schedules.target.hardware.kind == "cuda"
    workspace = plan_memory(found.steps, keep_halos=once)
    live = largest_live(found.steps)
    program = Program(
        plan.inputs,
        plan.outputs,
        plan.buffers,
        found.steps,
        found.weights.data,
        workspace,
        live,
    )
    return program, found.functions


def realize_batches(
    plans: Mapping[int, Plan], schedules: Schedules, prefix: str
) -> tuple[Program, dict[str, tirx.PrimFunc]]:
    """The program of the first batch size with those of the others, and the kernels of all.

    They share constants: the schedules are those of the first, wherever a kernel can have them.
    """
    weights, programs = Weights(), dict[int, Program]()
    functions: dict[str, tirx.PrimFunc] = {}
    first = next(iter(plans))
    for count, made in plans.items():
        programs[count], more = realize(made, schedules, prefix, weights, (count, first))
        functions |= more
    program = programs.pop(first)
    program.batches = programs
    return program, functions
