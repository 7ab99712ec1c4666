"""Compare a compiled network with its source, layer by layer.

Logits of a deep binary network are no oracle: one flipped sign moves them. So each kernel gets
the reference's inputs and must give the reference's outputs bit for bit; signs are compared with
the framework's, with their distance from the threshold; the end is judged by top-1.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bnn_compiler.compiler import trace_model
from bnn_compiler.errors import VerifyError
from bnn_compiler.frontend import importer
from bnn_compiler.frontend.trace import TracedGraph, run_capturing
from bnn_compiler.ops import evaluate
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.byte_input import Normalization
from bnn_compiler.passes.graph import Graph
from bnn_compiler.runtime import Artifact, Session


@dataclass(frozen=True)
class KernelCheck:
    """One kernel call on the reference's inputs: outputs whose bits differ (must be 0)."""

    name: str
    op: str
    binary: bool
    elements: int
    mismatches: int


@dataclass(frozen=True)
class SignCheck:
    """One sign of the model: decisions unlike the framework's, their largest distance, zeros."""

    name: str
    elements: int
    differ: int
    distance: float
    zeros: int


@dataclass(frozen=True)
class Report:
    """The result of ``verify``; ``ok`` if every kernel is exact."""

    kernels: tuple[KernelCheck, ...]
    signs: tuple[SignCheck, ...]
    top1_agreement: float
    max_difference: float

    @property
    def ok(self) -> bool:
        """Whether no kernel mismatched."""
        return all(k.mismatches == 0 for k in self.kernels)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, **asdict(self)}

    def text(self) -> str:
        """A few lines for people."""
        binary = [k for k in self.kernels if k.binary]
        bad = [k for k in self.kernels if k.mismatches]
        differ, total = sum(s.differ for s in self.signs), sum(s.elements for s in self.signs)
        lines = [
            f"binary layers: {len(binary)}, {sum(k.elements for k in binary)} outputs,"
            f" {sum(k.mismatches for k in binary)} mismatches",
            f"other kernels: {len(self.kernels) - len(binary)},"
            f" {sum(k.mismatches for k in self.kernels if not k.binary)} mismatches",
            f"signs: {total}, {differ} decided unlike PyTorch"
            + (f" (at most {max(s.distance for s in self.signs):.2e} from 0)" if differ else "")
            + f", {sum(s.zeros for s in self.signs)} exact zeros",
            f"top-1 agreement {self.top1_agreement:.1%}, largest difference"
            f" {self.max_difference:.2e}",
        ]
        lines += [f"MISMATCH {k.name} ({k.op}): {k.mismatches} of {k.elements}" for k in bad]
        return "\n".join(lines)


def verify(
    artifact: Artifact,
    model: Any,
    inputs: Sequence[Any],
    *,
    checkpoint: str | Path | None = None,
) -> Report:
    """Check ``artifact`` against the network it was compiled from, on ``inputs`` of its dtype.

    Raises VerifyError if it was compiled from another network.
    """
    arrays = [np.asarray(x) for x in inputs]
    given = artifact.manifest.get("normalization")
    normalization = Normalization(**{k: tuple(v) for k, v in given.items()}) if given else None
    floats = [normalization.apply(x) if normalization else x for x in arrays]
    tensors = tuple(torch.as_tensor(x) for x in floats)
    traced, source_hash = trace_model(model, tensors, checkpoint=checkpoint)
    if source_hash != artifact.manifest["source_hash"]:
        raise VerifyError(
            f"{artifact.path} was compiled from another network or other weights (source hash"
            f" {artifact.manifest['source_hash'][:12]}, this model's is {source_hash[:12]})"
        )
    zero_weight = artifact.manifest["contract"]["zero_weight"]
    module = pipeline.run(
        importer.to_relax(traced),
        zero_weight=zero_weight,
        byte_input=normalization,
        allow_reorder=artifact.manifest["contract"]["reorder"],
    )
    graph = Graph.of(module)
    values = {v.name: value for v, value in evaluate.run(graph, arrays).items()}
    outputs, captured = run_capturing(traced, tensors)
    result = artifact.run(*arrays)
    results = result if isinstance(result, tuple) else (result,)
    return Report(
        tuple(_kernels(artifact, arrays, values)),
        tuple(_signs(artifact, traced, values, captured)),
        _top1(results, outputs),
        max(float(np.abs(a - b.numpy()).max()) for a, b in zip(results, outputs, strict=True)),
    )


def _kernels(
    artifact: Artifact, inputs: list[NDArray[Any]], values: dict[str, Any]
) -> list[KernelCheck]:
    session = Session(artifact)
    session.inputs = [np.ascontiguousarray(x) for x in inputs]
    buffers = {b["id"]: b for b in artifact.manifest["buffers"]}
    checks = []
    for index, step in enumerate(artifact.manifest["steps"]):
        for identifier in step["reads"]:
            if buffers[identifier]["kind"] == "arena":
                session.write_buffer(identifier, values[buffers[identifier]["name"]])
        session.run(index, index + 1)
        elements = mismatches = 0
        for identifier in step["writes"]:
            buffer = buffers[identifier]
            wanted = values[buffer["name"]]
            if buffer["kind"] == "arena":
                found = session.read_buffer(identifier)
            else:
                found = session.outputs[_output_index(artifact, identifier)]
            elements += wanted.size
            mismatches += _differences(found.reshape(wanted.shape), wanted)
        checks.append(KernelCheck(step["name"], step["op"], step["binary"], elements, mismatches))
    return checks


def _output_index(artifact: Artifact, identifier: int) -> int:
    kinds = [b["id"] for b in artifact.manifest["buffers"] if b["kind"] == "output"]
    return kinds.index(identifier)


def _differences(a: NDArray[Any], b: NDArray[Any]) -> int:
    # -0.0 and +0.0 are the same number; everything else must have the same bits.
    return int(np.count_nonzero(~((a == b) | (np.isnan(a) & np.isnan(b)))))


def _signs(
    artifact: Artifact,
    traced: TracedGraph,
    values: dict[str, Any],
    captured: dict[str, torch.Tensor],
) -> list[SignCheck]:
    nodes = {n.name: n for n in traced.graph.nodes}
    checks = []
    for buffer in artifact.manifest["buffers"]:
        for name in buffer["signs"]:
            node = nodes.get(name)
            if node is None:
                continue
            before = captured[node.args[0].name].numpy()
            ours = values[buffer["name"]]
            if before.ndim == 4:
                before = before.transpose(0, 2, 3, 1)
            elif before.ndim == 2 and before.size == ours.size:
                n, h, w, c = ours.shape
                before = before.reshape(n, c, h, w).transpose(0, 2, 3, 1)
            if before.shape != ours.shape:
                continue
            wrong = (before > 0) != (ours > 0)
            zeros = before == 0
            wrong &= ~zeros
            distance = float(np.abs(before[wrong]).max()) if wrong.any() else 0.0
            checks.append(
                SignCheck(name, before.size, int(wrong.sum()), distance, int(zeros.sum()))
            )
    return checks


def _top1(results: Sequence[NDArray[Any]], outputs: Sequence[torch.Tensor]) -> float:
    """Share of samples (of pixels, for a dense output) whose largest class agrees."""
    same = [
        (np.argmax(a, axis=1) == np.argmax(b.numpy(), axis=1)).mean()
        for a, b in zip(results, outputs, strict=True)
    ]
    return float(np.mean(same))
