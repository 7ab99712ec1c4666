"""A kernel alone in a program that times it on inputs from a seed."""

import hashlib
from pathlib import Path

import numpy as np
from tvm import tirx

from bnn_compiler import families
from bnn_compiler.deploy import backend
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import HalfWorkload
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Target


def constants(task: Task, point: Point) -> list[np.ndarray]:
    """The kernel's constants for weights that depend on the task only."""
    work = task.work
    shape = (work.shape[3], *work.kernel, work.x.shape[3] // work.groups)
    rng = np.random.default_rng(0)
    if work.is_binary:
        weights = [rng.choice(np.array([-1, 1], np.int8), shape)]
    elif work.x.storage in (Storage.INT16, Storage.BYTES):
        narrow = work.x.storage is Storage.BYTES
        weights = [
            rng.integers(-127, 128, shape, np.int8)
            if narrow
            else rng.integers(-3000, 3000, shape, np.int16),
            rng.normal(size=shape[0]).astype(np.float32),
            rng.normal(size=shape[:3]),
        ]
    else:
        weights = [rng.normal(size=shape).astype(np.float32)]
    if isinstance(work, HalfWorkload):
        # One weight for each output: sums are the same in any order.
        flat = weights[0].reshape(shape[0], -1)
        flat[np.arange(flat.shape[1]) != rng.integers(flat.shape[1], size=(shape[0], 1))] = 0
        weights += [
            rng.normal(size=shape[0]).astype(np.float32) for _ in range(2 * bool(work.pool))
        ]
    return families.constants(task, point, weights)


def build(
    function: tirx.PrimFunc,
    task: Task,
    point: Point,
    target: Target,
    stem: Path,
    *,
    static: bool = False,
) -> TrialProgram:
    """``stem``.run, and next to it ``stem``.bin, its constants.

    Raises BuildError if linking fails.
    """
    values, outputs = constants(task, point), len(task.epilogue.outputs)
    channels = task.work.x.shape[3], task.work.shape[3]
    trial = backend.of(target).trial
    name = name_of(task)
    return trial(
        function,
        name,
        values,
        outputs,
        channels,
        target,
        stem,
        static=static,
        image=task.work.x,
    )


def name_of(task: Task) -> str:
    """A task's name in measurements."""
    return hashlib.sha256(task.key.encode()).hexdigest()[:16]
