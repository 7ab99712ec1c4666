"""Each kernel against the meaning of its operator (ops/operators.py), bit for bit.

In half precision the order of sums is the kernel's: then as near as that explains.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.ops import evaluate
from bnn_compiler.ops.graph import Graph
from bnn_compiler.runtime import Artifact, Session
from bnn_compiler.verification import halves
from bnn_compiler.verification.quantized import Meanings
from bnn_compiler.verification.report import KernelCheck


def kernel_checks(
    artifact: Artifact, graph: Graph, inputs: Sequence[NDArray[Any]]
) -> list[KernelCheck]:
    """Every step on the reference's inputs."""
    values = {v.name: value for v, value in evaluate.run(graph, inputs).items()}
    session = Session(artifact)
    session.inputs = [np.ascontiguousarray(x) for x in inputs]
    buffers = {b["id"]: b for b in artifact.manifest["buffers"]}
    outputs = [b["id"] for b in artifact.manifest["buffers"] if b["kind"] == "output"]
    calls = Meanings.of(graph).calls
    checks = []
    for index, step in enumerate(artifact.manifest["steps"]):
        for identifier in step["reads"]:
            if buffers[identifier]["kind"] == "arena":
                session.write_buffer(identifier, values[buffers[identifier]["name"]])
        session.run(index, index + 1)
        elements = mismatches = 0
        for identifier in step["writes"]:
            wanted = values[buffers[identifier]["name"]]
            if identifier in outputs:
                found = session.outputs[outputs.index(identifier)]
            else:
                found = session.read_buffer(identifier)
            elements += wanted.size
            found = found.reshape(wanted.shape)
            if halves.is_half(step):
                call, at = calls[buffers[identifier]["name"]]
                mismatches += halves.mismatches(call, at, found, values)
            else:
                mismatches += _differences(found, wanted)
        checks.append(KernelCheck(step["name"], step["op"], step["binary"], elements, mismatches))
    return checks


def _differences(a: NDArray[Any], b: NDArray[Any]) -> int:
    # -0.0 and +0.0 are the same number; everything else must have the same bits.
    return int(np.count_nonzero(~((a == b) | (np.isnan(a) & np.isnan(b)))))
