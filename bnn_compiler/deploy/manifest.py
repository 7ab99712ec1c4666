"""The manifest: what an artifact is, in JSON."""

from dataclasses import asdict
from typing import Any

from bnn_compiler import __version__
from bnn_compiler.deploy.program import ALIGN, Buffer, Program
from bnn_compiler.passes.byte_input import Normalization
from bnn_compiler.tune.schedules import Schedules

FORMAT = 1


def manifest(
    program: Program,
    name: str,
    schedules: Schedules,
    source_hash: str,
    zero_weight: str,
    normalization: Normalization | None,
) -> dict[str, Any]:
    """Everything but the files' hashes, which packaging adds."""
    target = schedules.target
    return {
        "format": FORMAT,
        "name": name,
        "compiler": __version__,
        "source_hash": source_hash,
        "target": {
            "name": target.name,
            "arch": target.arch,
            "features": list(target.features),
            "cpu": target.tvm.get("mcpu", ""),
        },
        "threads": target.threads,
        "contract": {"zero_activation": "+1", "zero_weight": zero_weight, "reorder": False},
        "normalization": None if normalization is None else asdict(normalization),
        "stale_records": schedules.stale,
        "inputs": [_tensor(b) for b in program.inputs],
        "outputs": [_tensor(b) for b in program.outputs],
        "weights_bytes": len(program.weights),
        "workspace_bytes": program.workspace,
        "workspace_lower_bound": program.live,
        "workspace_align": ALIGN,
        "steps": [
            {
                "name": s.name,
                "op": s.op,
                "kernel": s.kernel,
                "fused": s.fused,
                "macs": s.macs,
                **s.traffic,
                "binary": s.op == "bnn.conv2d",
                "schedule": s.schedule,
                "reads": [b.id for b in s.reads],
                "writes": [b.id for b in s.writes],
            }
            for s in program.steps
        ],
        "buffers": [_buffer(b) for b in program.buffers],
    }


def _tensor(buffer: Buffer) -> dict[str, Any]:
    return {
        "name": buffer.name,
        "shape": external_shape(buffer),
        "dtype": buffer.layout.dtype,
    }


def external_shape(buffer: Buffer) -> list[int]:
    """The caller's shape: a matrix [N, F] is kept as [N, F, 1, 1] inside."""
    return list(buffer.shape or buffer.layout.shape)


def _buffer(buffer: Buffer) -> dict[str, Any]:
    layout = buffer.layout
    return {
        "id": buffer.id,
        "kind": buffer.kind,
        "name": buffer.name,
        "offset": buffer.offset,
        "bytes": layout.bytes,
        "dtype": layout.dtype,
        "shape": list(layout.shape),
        "physical": list(layout.physical),
        "halo": list(layout.halo),
        "fill": buffer.fill,
        "signs": buffer.signs,
    }
