"""What tuned kernels take inside their network: more than alone, where tuning measured them.

A kernel alone finds its input and weights in the caches, and nothing else has used them since.
"""

import tempfile
from pathlib import Path

import numpy as np

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.cost.records import existing
from bnn_compiler.deploy import backend, package
from bnn_compiler.deploy.manifest import manifest
from bnn_compiler.kernels.task import Task
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from bnn_compiler.runtime import load
from bnn_compiler.runtime.tensors import noise
from bnn_compiler.tune.network import Subject

#: Runs of the network, of which each kernel's least counts, as alone.
_REPEAT = 30


def seconds_inside(subject: Subject) -> dict[str, float]:
    """Of each kernel by its task's key, in the network as ``compile`` would make it now.

    The mean where it occurs several times; of the first batch size. Raises BuildError if it cannot
    be linked, and what ``compile`` raises for the network.
    """
    network = subject.networks()[0]
    found: dict[str, float] = {}
    for options in subject.forms(network):
        found = _measured(subject, network, options) | found
    return found


def _measured(subject: Subject, network: Network, options: Options) -> dict[str, float]:
    """Of one form."""
    known = Schedules.load(subject.target, existing(subject.schedules))
    planned = plan.plan(network.fused(options))
    program, functions = realize.realize(planned, known, "net")
    draft = manifest(program, "net", known, network, options, static_weights=False)
    with tempfile.TemporaryDirectory(prefix="bnnc-inside-") as folder:
        sealed, files = backend.of(subject.target).build(
            Path(folder), program, functions, subject.target, draft, lambda stage: None
        )
        path = Path(folder) / "net.bnn"
        package.write_artifact(path, sealed, files, as_folder=False)
        with load(path) as artifact:
            inputs = noise(artifact.description.inputs)
            layers = artifact.profile(*inputs, repeat=_REPEAT)
    times: dict[str, list[float]] = {}
    for call, layer in zip(planned.calls, layers, strict=True):
        if isinstance(call.task, Task):
            times.setdefault(call.task.key, []).append(layer.seconds_min)
    return {key: float(np.mean(some)) for key, some in times.items()}
