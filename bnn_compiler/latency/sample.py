"""A program that was timed, as one line of JSON."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.timing import Times
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.storage import Storage


@dataclass(frozen=True)
class Sample:
    """The seconds of a whole network and of each of its kernels in it, corrected for drift.

    ``network`` names the template that ``plan`` was drawn for, ``noise`` is the difference of the
    first and second half of the rounds as a share, ``reference`` what the reference program took.
    ``random`` is False for a plan that was chosen because a model was unsure of it.
    """

    network: str
    plan: dict[str, int]
    kernels: tuple[Kernel, ...]
    steps: tuple[float, ...]
    seconds: float
    noise: float
    reference: float
    random: bool = True

    @staticmethod
    def timed(
        network: str,
        plan: dict[str, int],
        kernels: tuple[Kernel, ...],
        it: Times,
        random: bool = True,
    ) -> "Sample":
        """From the times ``it`` of a program, at the speed at which the reference usually ran."""
        nominal = float(np.median(it.reference))
        steps = tuple(float(v) for v in it.of_steps(nominal))
        seconds = it.seconds(nominal)
        return Sample(network, plan, kernels, steps, seconds, it.noise, nominal, random)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "kernels": [kernel_to_dict(k) for k in self.kernels]}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Sample":
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        found = Sample(
            str(data["network"]),
            {str(k): int(v) for k, v in data["plan"].items()},
            tuple(kernel_from_dict(k) for k in data["kernels"]),
            tuple(float(s) for s in data["steps"]),
            float(data["seconds"]),
            float(data["noise"]),
            float(data["reference"]),
            # Journals were begun before there was this.
            bool(data.get("random", True)),
        )
        times = (*found.steps, found.seconds, found.reference)
        if len(found.steps) != len(found.kernels) or not all(0 < t < math.inf for t in times):
            raise ValueError("not a positive time for each kernel")
        return found


def kernel_to_dict(kernel: Kernel) -> dict[str, Any]:
    """The JSON form of a kernel."""
    task = kernel.task
    return {
        "name": kernel.name,
        "op": kernel.op,
        "task": task.as_dict() if isinstance(task, Task) else None,
        "plain": None if isinstance(task, Task) else _plain(task),
        "reads": [asdict(t) for t in kernel.reads],
        "writes": [asdict(t) for t in kernel.writes],
    }


def kernel_from_dict(data: dict[str, Any]) -> Kernel:
    """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
    task = _read_plain(data["plain"]) if data["task"] is None else Task.from_dict(data["task"])
    reads, writes = (tuple(_layout(t) for t in data[k]) for k in ("reads", "writes"))
    return Kernel(str(data["name"]), str(data["op"]), task, reads, writes)


def _plain(task: PlainTask) -> dict[str, Any]:
    return {
        "op": task.op,
        "data": [asdict(t) for t in task.data],
        "work": None if task.work is None else asdict(task.work),
        "parameters": [
            {"storage": p.dtype} if isinstance(p, Storage) else p for p in task.parameters
        ],
        **task.epilogue.attrs(),
        "tensors": [None if t is None else asdict(t) for t in task.tensors],
    }


def _read_plain(data: dict[str, Any]) -> PlainTask:
    work = data["work"]
    if work is not None:
        work = ConvWorkload(**{**_tuples(work), "x": _layout(work["x"])})
    return PlainTask(
        str(data["op"]),
        tuple(_layout(t) for t in data["data"]),
        work,
        tuple(
            Storage(p["storage"]) if isinstance(p, dict) else tuple(p) if isinstance(p, list) else p
            for p in data["parameters"]
        ),
        Epilogue.parse(data["epilogue"], data["outputs"]),
        tuple(None if t is None else _layout(t) for t in data["tensors"]),
    )


def _layout(data: dict[str, Any]) -> Layout:
    return Layout(**_tuples(data))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the dataclasses have tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
