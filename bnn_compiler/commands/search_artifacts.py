"""What ``bnnc search`` compiles: plans to time, and in the end the trained networks to compare."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn_compiler.errors import SearchError

if TYPE_CHECKING:
    from torch import nn

    from bnn_compiler.runtime import Artifact
    from bnn_compiler.search.network import Task
    from bnn_compiler.search.report import Shipped
    from bnn_compiler.search.run import Result

#: Artifacts take turns for at least so many rounds and seconds; the least of so many runs counts.
_ROUNDS, _SECONDS, _RUNS = 30, 1.0, 3
#: Test images that an artifact is given, at most.
_IMAGES = 1000


def measure(task: "Task") -> Callable[[Any], float] | None:
    """Plan -> measured seconds of the compiled network; None where its code does not run."""
    if not runs_here(task.target):
        return None

    def one(plan: Any) -> float:
        with tempfile.TemporaryDirectory(prefix="bnnc-search-") as folder:
            artifact = _compiled(task.space.crop(plan), task, Path(folder) / "net", check=False)
            with artifact:
                (seconds,) = in_turns([artifact])
        return seconds

    return one


def in_turns(artifacts: "Sequence[Artifact]") -> list[float]:
    """Seconds of a run of each, one thread, as the latency model means them.

    In every round each artifact runs a few times behind the others, and the least counts; the
    median of the rounds is returned.
    """
    from bnn_compiler.latency.timing import Subject, undisturbed

    subjects = [Subject(a) for a in artifacts]
    rounds: list[list[float]] = [[] for _ in subjects]
    order = list(range(len(subjects)))
    with undisturbed():
        end = time.perf_counter() + _SECONDS * len(subjects)
        while len(rounds[0]) < _ROUNDS or time.perf_counter() < end:
            for i in order:
                rounds[i].append(subjects[i].fastest(_RUNS))
            order.reverse()
    return [statistics.median(times) for times in rounds]


def ship(task: "Task", result: "Result", folder: Path) -> "list[Shipped]":
    """Compile the searched and the uniform plan as they were trained, time both in turns where they
    run here, and give them test images.

    The winner is network.bnn, the other one has the name of its plan. Raises SearchError if the
    winner's weights are gone.
    """
    from bnn_compiler.search import deliver
    from bnn_compiler.search.report import Shipped

    named = {"searched": result.searched, "uniform": result.uniform}
    if result.searched == result.uniform:
        del named["searched"]
    made: dict[str, tuple[str, Artifact]] = {}
    for name, plan in named.items():
        won = plan == result.winner
        try:
            network = deliver.winner(task, result, plan).network
        except SearchError:
            if won:
                raise
            continue
        file = "network.bnn" if won else f"{name}.bnn"
        made[name] = file, _compiled(network, task, folder / file, check=True)
    try:
        if not runs_here(task.target):
            return [
                Shipped(name, file, artifact.size_bytes) for name, (file, artifact) in made.items()
            ]
        seconds = in_turns([artifact for _, artifact in made.values()])
        return [
            Shipped(name, file, artifact.size_bytes, time_, *_tested(artifact, task))
            for (name, (file, artifact)), time_ in zip(made.items(), seconds, strict=True)
        ]
    finally:
        for _, artifact in made.values():
            artifact.close()


def _tested(artifact: "Artifact", task: "Task") -> tuple[float, int]:
    """The artifact's own accuracy, and on how many test images."""
    import numpy as np

    from bnn_compiler.search.data import batches

    test, size = task.splits.test, task.shape[0]
    count = min(_IMAGES, len(test)) // size * size
    right = seen = 0
    for images, labels in batches(test, size):
        if seen >= count:
            break
        logits = artifact.run(images.numpy())
        right += int((np.argmax(logits, 1) == labels.numpy()).sum())
        seen += size
    return right / max(seen, 1), seen


def _compiled(network: "nn.Module", task: "Task", output: Path, *, check: bool) -> "Artifact":
    """One thread."""
    from bnn_compiler import compiler

    artifact = compiler.compile(
        network.eval(), task.inputs, target=task.target, output=output, check=check
    )
    artifact.set_threads(1)
    return artifact


def export(network: "nn.Module", task: "Task", output: Path) -> None:
    """The trained network as a program that needs none of its classes."""
    import io

    import torch

    from bnn_compiler import files
    from bnn_compiler.frontend.pytorch.quiet import quiet

    buffer = io.BytesIO()
    with quiet():
        torch.export.save(torch.export.export(network, task.inputs), buffer)
    files.replace_bytes(output, buffer.getvalue())


def runs_here(target: str) -> bool:
    """Whether this CPU runs the target's code."""
    import platform

    from bnn_compiler import target as targets
    from bnn_compiler.runtime import cpu

    wanted = targets.load(target)
    return wanted.arch == platform.machine() and set(wanted.features) <= cpu.features()
