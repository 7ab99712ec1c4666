"""A program as the manifest describes it."""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import replace

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.network import Network
from bnn_compiler.ops import half
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, derived
from bnn_compiler.ops.storage import Storage
from bnn_compiler.options import Options
from bnn_compiler.plan.program import Buffer, Program
from bnn_compiler.quantization import Choices
from bnn_compiler.runtime.manifest import (
    ALIGN,
    FORMAT,
    BufferEntry,
    Contract,
    Manifest,
    NormalizationEntry,
    ProgramEntry,
    RangeEntry,
    RestEntry,
    RestLayerEntry,
    StepEntry,
    TargetEntry,
    TensorEntry,
)
from bnn_compiler.version import __version__

#: Steps that only ``allow_reorder`` makes.
_REORDERED = {f"bnn.{name}" for name in ("winograd_conv2d", *half.NAMES)}


def manifest(
    program: Program,
    name: str,
    schedules: Schedules,
    network: Network,
    options: Options,
    *,
    static_weights: bool,
    others: Sequence[Network] = (),
) -> Manifest:
    """What is known before the library is linked; packaging adds the rest.

    ``static_weights`` says whether NAME.a holds the weights; ``others`` are the networks of
    ``program.batches``.
    """
    given = options.normalization
    halves = any(b.layout.storage is Storage.FLOAT16 for b in program.buffers)
    reorder = halves or any(s.op in _REORDERED for s in program.steps)
    zero = zero_activation(Graph.of(network.imported.module), program)
    alone = describe(
        program,
        name,
        schedules,
        source_hash=network.source_hash,
        contract=Contract(zero, options.zero_weight, reorder),
        normalization=None if given is None else NormalizationEntry(given.mean, given.std),
        static_weights=static_weights,
    )
    made = program.named(name).items()
    hashes = [n.source_hash for n in others]
    entries = [_program(p, n, h) for (n, p), h in zip(list(made)[1:], hashes, strict=True)]
    ranges = tuple(RangeEntry(r.layer, r.low, r.high) for r in options.int8)
    return replace(alone, batches=tuple(entries), int8=ranges)


def rest_entry(chosen: Choices) -> RestEntry:
    """How layers that are not binary were chosen."""
    found = chosen.as_dict()
    layers = tuple(RestLayerEntry(**one) for one in found.pop("layers"))
    return RestEntry(**found, layers=layers)


def describe(
    program: Program,
    name: str,
    schedules: Schedules,
    *,
    source_hash: str,
    contract: Contract,
    normalization: NormalizationEntry | None = None,
    static_weights: bool = False,
) -> Manifest:
    """The same for a program that no network was read for."""
    target = schedules.target
    whole = _program(program, name, source_hash)
    return Manifest(
        format=FORMAT,
        name=name,
        compiler=__version__,
        source_hash=source_hash,
        target=TargetEntry(
            target.name,
            target.hardware.kind,
            # A GPU's library runs on the CPU of the machine that links it.
            target.arch if target.hardware.kind == "llvm" else platform.machine(),
            tuple(target.features),
            target.tvm.get("mcpu", target.tvm.get("arch", "")),
        ),
        threads=target.threads,
        contract=contract,
        normalization=normalization,
        stale_records=schedules.stale,
        inputs=whole.inputs,
        outputs=whole.outputs,
        weights_bytes=len(program.weights),
        weights_sha256=hashlib.sha256(program.weights).hexdigest(),
        static_weights=static_weights,
        workspace_bytes=whole.workspace_bytes,
        workspace_lower_bound=whole.workspace_lower_bound,
        workspace_align=ALIGN,
        steps=whole.steps,
        buffers=whole.buffers,
    )


def _program(program: Program, name: str, source_hash: str) -> ProgramEntry:
    return ProgramEntry(
        name=name,
        source_hash=source_hash,
        inputs=tuple(map(_tensor, program.inputs)),
        outputs=tuple(map(_tensor, program.outputs)),
        workspace_bytes=program.workspace,
        workspace_lower_bound=program.live,
        steps=tuple(
            StepEntry(
                name=s.name,
                op=s.op,
                kernel=s.kernel,
                fused=tuple(s.fused),
                macs=s.macs,
                products=s.products,
                **s.traffic,
                binary=s.op in ("bnn.conv2d", "bnn.matmul"),
                schedule=s.schedule,
                reads=tuple(b.id for b in s.reads),
                writes=tuple(b.id for b in s.writes),
            )
            for s in program.steps
        ),
        buffers=tuple(map(_buffer, program.buffers)),
    )


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


def _tensor(buffer: Buffer) -> TensorEntry:
    return TensorEntry(buffer.name, tuple(buffer.external), buffer.layout.dtype)


def _buffer(buffer: Buffer) -> BufferEntry:
    layout = buffer.layout
    return BufferEntry(
        buffer.id,
        buffer.kind,
        buffer.name,
        buffer.offset,
        layout.bytes,
        layout.dtype,
        tuple(layout.shape),
        tuple(layout.physical),
        tuple(layout.halo),
        buffer.fill,
    )
