"""The manifest: what an artifact is, in JSON."""

import hashlib
from dataclasses import asdict
from typing import Any

from bnn_compiler import __version__
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, derived
from bnn_compiler.passes.byte_input import Normalization
from bnn_compiler.plan.program import ALIGN, Buffer, Program
from bnn_compiler.runtime.manifest import FORMAT


def manifest(
    program: Program,
    name: str,
    schedules: Schedules,
    source_hash: str,
    zero_weight: str,
    normalization: Normalization | None,
    zero_activation: str,
    *,
    static_weights: bool,
) -> dict[str, Any]:
    """What is known before the library is linked; packaging adds the rest.

    ``static_weights`` says whether NAME.a holds the weights.
    """
    target = schedules.target
    reorder = any(s.op == "bnn.winograd_conv2d" for s in program.steps)
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
        "contract": {
            "zero_activation": zero_activation,
            "zero_weight": zero_weight,
            "reorder": reorder,
        },
        "normalization": None if normalization is None else asdict(normalization),
        "stale_records": schedules.stale,
        "inputs": [_tensor(b) for b in program.inputs],
        "outputs": [_tensor(b) for b in program.outputs],
        "weights_bytes": len(program.weights),
        "weights_sha256": hashlib.sha256(program.weights).hexdigest(),
        "static_weights": static_weights,
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
                "products": s.products,
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


def zero_activation(imported: Graph, program: Program) -> str:
    """What becomes of activations that are exactly 0, of which one bit cannot tell.

    "exact": as the model says; "+1": where the model's sign leaves 0 at 0, it is +1.
    """
    leave = {
        var.name
        for var, value in imported.values.items()
        if ops.is_op(value, "relax.bnn.sign") and int(value.attrs["zero"]) == 0
    }
    alone = any(
        buffer.name == derived(name, "bits") for buffer in program.buffers for name in leave
    )
    return "+1" if alone else "exact"


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
    }
