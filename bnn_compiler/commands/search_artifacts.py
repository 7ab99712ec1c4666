"""What ``bnnc search`` compiles in the end: the trained networks to compare."""

from pathlib import Path
from typing import TYPE_CHECKING

from bnn_compiler.commands.place import Place
from bnn_compiler.errors import SearchError

if TYPE_CHECKING:
    from torch import nn

    from bnn_compiler.runtime import Artifact
    from bnn_compiler.search.network import Task
    from bnn_compiler.search.report import Shipped
    from bnn_compiler.search.run import Result

#: Test images that an artifact is given, at most.
_IMAGES = 1000


def ship(place: Place, result: "Result", folder: Path) -> "list[Shipped]":
    """Compile the searched and the uniform plan as they were trained, time both where ``place``
    does, and give them test images where they run here.

    The winner is network.bnn, the other one has the name of its plan. Raises SearchError if the
    winner's weights are gone.
    """
    from bnn_compiler.search import deliver
    from bnn_compiler.search.report import Shipped

    task = place.task
    named = {"searched": result.searched, "uniform": result.uniform}
    if result.searched == result.uniform:
        del named["searched"]
    made: dict[str, tuple[str, Artifact]] = {}
    networks = []
    for name, plan in named.items():
        won = plan == result.winner
        try:
            network = deliver.winner(task, result, plan).network
        except SearchError:
            if won:
                raise
            continue
        file = "network.bnn" if won else f"{name}.bnn"
        networks.append(network)
        made[name] = file, place.compile(network, folder / file, check=True)
    try:
        if not place.measures:
            return [
                Shipped(name, file, artifact.size_bytes) for name, (file, artifact) in made.items()
            ]
        seconds = place.seconds([artifact for _, artifact in made.values()], networks)
        return [
            Shipped(
                name,
                file,
                artifact.size_bytes,
                time_,
                *(_tested(artifact, task) if place.here else ()),
            )
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
