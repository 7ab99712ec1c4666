"""A program to time, made from a network's plan and other kernels in its place: no network is read.

Times do not depend on weights, so they are random.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tvm import relax

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy import backend, package
from bnn_compiler.deploy.manifest import describe
from bnn_compiler.errors import InputError
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.plan import realize
from bnn_compiler.plan.plan import Call, Plan
from bnn_compiler.plan.program import Buffer
from bnn_compiler.runtime import Artifact, load
from bnn_compiler.runtime.manifest import Contract

_NAME = "timed"


def substitute(base: Plan, kernels: Sequence[Kernel], seed: int = 0) -> Plan:
    """``base`` with the layouts and tasks of ``kernels``, one for each of its calls, and random
    constants.

    Raises InputError if the kernels are those of another network.
    """
    if [c.op for c in base.calls] != [k.op for k in kernels]:
        raise InputError("these kernels are not those of the network that they are to stand in for")
    rng = np.random.default_rng(seed)
    layouts: dict[int, Layout] = {}
    for call, kernel in zip(base.calls, kernels, strict=True):
        operands = [b for b in call.operands if isinstance(b, Buffer)]
        layouts |= zip((b.id for b in (*call.data, *operands)), kernel.reads, strict=True)
        layouts |= zip((b.id for b in call.writes), kernel.writes, strict=True)
    buffers = [_resized(b, layouts.get(b.id, b.layout)) for b in base.buffers]
    by_id = {b.id: b for b in buffers}
    return Plan(
        [by_id[b.id] for b in base.inputs],
        [by_id[b.id] for b in base.outputs],
        buffers,
        [_call(c, k.task, by_id, rng) for c, k in zip(base.calls, kernels, strict=True)],
    )


def build(plan: Plan, schedules: Schedules) -> Artifact:
    """Compile it for this machine and load it; nothing stays on disk. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="bnnc-") as name:
        write(plan, schedules, Path(name) / _NAME)
        return load(Path(name) / _NAME)


def write(plan: Plan, schedules: Schedules, path: Path, called: str = _NAME) -> None:
    """Compile it into an artifact, which is a folder. Raises BuildError or ArtifactError."""
    program, functions = realize.realize(plan, schedules, called)
    draft = describe(
        program, called, schedules, source_hash="", contract=Contract("+1", "exact", False)
    )
    target = schedules.target
    with tempfile.TemporaryDirectory(prefix="bnnc-") as name:
        folder = Path(name)
        sealed, files = backend.of(target).build(
            folder, program, functions, target, draft, lambda stage: None
        )
        package.write_artifact(path, sealed, files, as_folder=True)


def _resized(buffer: Buffer, layout: Layout) -> Buffer:
    """A copy with another layout; what the caller sees of an input or output goes along."""
    shape = buffer.shape
    if shape and layout != buffer.layout:
        full = layout.shape
        shape = full if len(shape) == len(full) else full[: len(shape)]
    return replace(buffer, layout=layout, shape=shape, offset=0)


def _call(
    call: Call, task: Task | PlainTask, buffers: dict[int, Buffer], rng: np.random.Generator
) -> Call:
    writes = tuple(buffers[b.id] for b in call.writes)
    lanes = round_up(writes[0].layout.shape[3], LANES)
    thresholds = {o.threshold for o in task.epilogue.outputs if o.is_bits}
    return replace(
        call,
        task=task,
        data=tuple(buffers[b.id] for b in call.data),
        writes=writes,
        weights=tuple(relax.const(w) for w in _weights(task, len(call.weights), rng)),
        operands=tuple(
            buffers[v.id]
            if isinstance(v, Buffer)
            else v
            if v.size == 0
            else _vector(lanes, i in thresholds, rng)
            for i, v in enumerate(call.operands)
        ),
    )


def _vector(lanes: int, is_threshold: bool, rng: np.random.Generator) -> np.ndarray:
    """A scale, bias, slope or threshold under which values stay of the order of 1."""
    scale = 0.2 if is_threshold else 0.05
    return (scale * rng.standard_normal(lanes)).astype(np.float32)


def _weights(task: Task | PlainTask, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The operator's ``count`` constant operands."""
    if isinstance(task, PlainTask):
        assert count == 0 or task.op == "bits_max_pool2d", f"{task.op} has no weights"
        return [np.zeros(task.data[0].channels, np.uint32)] * count
    work = task.work
    shape = (work.shape[3], *work.kernel, work.x.shape[3] // work.groups)
    if work.is_binary:
        return [(2 * rng.integers(0, 2, shape, np.int8) - 1).astype(np.int8)]
    if work.x.storage is Storage.INT16:
        return [
            rng.integers(-3000, 3000, shape, np.int16),
            rng.standard_normal(shape[0]).astype(np.float32),
            rng.standard_normal(shape[:3]),
        ]
    fan_in = shape[1] * shape[2] * shape[3]
    return [(rng.standard_normal(shape) / fan_in**0.5).astype(np.float32)]
