"""Compare a compiled network with its source, layer by layer.

The reference is the user's module, run by PyTorch. Every kernel gets PyTorch's own inputs; its
values must be PyTorch's within what rounding explains, its signs PyTorch's unless their input is
within that of 0. With every sign as PyTorch decides it the outputs must be PyTorch's too, so a
difference at the outputs is explained by the signs that are named, or it is a fault.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import InputError, VerifyError
from bnn_compiler.frontend.oracle import Observation, Truth
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.quantization.agreement import top1
from bnn_compiler.runtime import Artifact
from bnn_compiler.runtime.tensors import is_tensor, widened
from bnn_compiler.verification import halves, playback
from bnn_compiler.verification.kernels import kernel_checks
from bnn_compiler.verification.quantized import Meanings
from bnn_compiler.verification.report import (
    FlipCheck,
    HalfCheck,
    Int8Check,
    KernelCheck,
    LayerCheck,
    OutputCheck,
    Report,
    SignCheck,
    join,
    merge,
)

__all__ = [
    "FlipCheck",
    "HalfCheck",
    "Int8Check",
    "KernelCheck",
    "LayerCheck",
    "OutputCheck",
    "Report",
    "SignCheck",
    "check",
    "verify",
]

#: What 16-bit weights of a convolution on bytes may add to rounding, as a share of the largest
#: value; passes/byte_input.py bounds them by the largest sum instead, which no value reaches.
_BYTES = 2.0**-10


def verify(
    artifact: Artifact,
    model: Any,
    samples: Sequence[Any],
    *,
    checkpoint: str | Path | None = None,
) -> Report:
    """Check ``artifact`` against the network it was compiled from, and each kernel's bits.

    ``samples`` is a list of inputs of the artifact's shape and dtype: an array or tensor each, or a
    tuple of them for a network of several inputs. Of an artifact for several batch sizes those are
    checked that samples have. Raises VerifyError if it was compiled from
    another network, InputError for samples of another form.
    """
    given = [[_array(x) for x in s] for s in _samples(artifact, samples)]
    parts: dict[int, list[list[NDArray[Any]]]] = {}
    for arrays in given:
        parts.setdefault(artifact.batch_of(arrays), []).append(arrays)
    reports = []
    for batch, some in parts.items():
        report, model = _verified(artifact.at(batch), model, some, checkpoint)
        # It is loaded with it.
        checkpoint = None
        reports.append(report if len(parts) == 1 else report.of_batch(batch))
    return join(reports)


def _verified(
    artifact: Artifact,
    model: Any,
    given: Sequence[list[NDArray[Any]]],
    checkpoint: str | Path | None,
) -> tuple[Report, Any]:
    """The report on samples of one batch size, and the model, loaded."""
    free = [_run(artifact, arrays) for arrays in given]
    options = Options.of_manifest(artifact.manifest)
    network = Network.of(model, _seen(given[0], options), checkpoint=checkpoint)
    if network.source_hash != artifact.manifest["source_hash"]:
        raise VerifyError(
            f"{artifact.path} was compiled from another network or other weights (source hash"
            f" {artifact.manifest['source_hash'][:12]}, this model's is {network.source_hash[:12]})"
        )
    graph = network.fused(options)
    reports = []
    for arrays, outputs in zip(given, free, strict=True):
        kernels = tuple(kernel_checks(artifact, graph, arrays))
        meanings = Meanings.of(graph) if options.int8 else None
        reports.append(_compare(artifact, network, options, arrays, outputs, kernels, meanings))
    loaded = network.imported.model
    return merge(reports), model if loaded is None else loaded


def check(artifact: Artifact, network: Network, options: Options) -> Report:
    """The same on the samples the network was traced with, without the kernels' bits: quick."""
    arrays = list(network.imported.samples)
    if options.normalization:
        arrays = [options.normalization.bytes_of(x) for x in arrays]
    meanings = Meanings.of(network.fused(options)) if options.int8 else None
    return _compare(artifact, network, options, arrays, _run(artifact, arrays), (), meanings)


def check_bytes(artifact: Artifact, network: Network) -> int:
    """Bytes of the values that ``check`` holds at once."""
    kept = _wanted(artifact)
    return sum(
        int(np.prod(o.shape)) * (12 if o.source else 8)
        for name, o in network.imported.origins.items()
        if o.source or name in kept
    )


def _samples(artifact: Artifact, samples: Sequence[Any]) -> list[Sequence[Any]]:
    count = len(artifact.manifest["inputs"])
    items = list(samples)
    if not items:
        raise InputError("no samples: give a list of inputs")
    if all(isinstance(s, tuple | list) for s in items):
        return items
    if count == 1:
        return [(s,) for s in items]
    if len(items) == count:
        return [items]
    raise InputError(
        f"{len(items)} arrays for a network of {count} inputs: give a tuple of {count} for each"
        " sample"
    )


def _array(value: Any) -> NDArray[Any]:
    """As ``run`` reads it."""
    value = widened(value if is_tensor(value) else np.asarray(value))
    array: NDArray[Any] = value.detach().cpu().numpy() if is_tensor(value) else value
    return array


def _run(artifact: Artifact, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    result = artifact.run(*arrays)
    return result if isinstance(result, tuple) else (result,)


def _seen(arrays: Sequence[NDArray[Any]], options: Options) -> tuple[NDArray[Any], ...]:
    """The inputs as the network sees them: bytes normalised."""
    normalization = options.normalization
    floats = [normalization.apply(x) if normalization else x for x in arrays]
    return tuple(np.require(x, requirements=["C", "W"]) for x in floats)


def _wanted(artifact: Artifact) -> set[str]:
    """What buffers hold, and what bytes are made of."""
    buffers = artifact.manifest["buffers"]
    wanted = {b["name"] for b in buffers if b["kind"] == "arena"}
    wanted |= halves.names(artifact.manifest["steps"], buffers)
    if artifact.manifest["int8"]:
        wanted |= {b["name"] for b in buffers}
        wanted |= {b["name"].rpartition("__")[0] for b in buffers if b["dtype"] == "uint8"}
    return wanted


def _compare(
    artifact: Artifact,
    network: Network,
    options: Options,
    arrays: Sequence[NDArray[Any]],
    free: Sequence[NDArray[Any]],
    kernels: tuple[KernelCheck, ...],
    meanings: Meanings | None,
) -> Report:
    inputs = _seen(arrays, options)
    seen = network.imported.oracle.observe(inputs, _wanted(artifact))
    if options.normalization:
        seen = _with_bytes(seen)
    if halves.any_half(artifact.manifest):
        seen = halves.widened(seen)
    forced = playback.play(artifact, arrays, seen.values, floats=True, meanings=meanings)
    pinned = playback.play(artifact, arrays, seen.values, floats=False, meanings=meanings)
    flips: tuple[FlipCheck, ...] = ()
    if meanings is not None:
        through = playback.play(artifact, arrays, seen.values, False, meanings, through=True)
        flips = playback.flip_checks(seen.values, through)
    return Report(
        1,
        kernels,
        tuple(forced.layers),
        playback.sign_checks(seen.values, (forced, pinned)),
        tuple(_outputs(artifact, seen, (forced, pinned), free)),
        _unchecked(artifact, network, forced),
        seen.decided_zeros,
        _export_difference(network, seen, inputs),
        tuple(forced.int8),
        flips,
        tuple(forced.half),
    )


def _with_bytes(seen: Observation) -> Observation:
    def wider(truth: Truth) -> Truth:
        if truth.ambiguous is not None:
            return truth
        more = _BYTES * float(np.abs(truth.value).max(initial=0.0))
        if truth.margin is not None:
            more = _BYTES * float(truth.margin.max(initial=0.0))
        return Truth(truth.value, truth.rounding + more, truth.margin)

    return Observation(
        [wider(t) for t in seen.module_outputs],
        [wider(t) for t in seen.outputs],
        {name: wider(t) for name, t in seen.values.items()},
        seen.decided_zeros,
    )


def _outputs(
    artifact: Artifact,
    seen: Observation,
    runs: Sequence[playback.Played],
    free: Sequence[NDArray[Any]],
) -> list[OutputCheck]:
    checks = []
    for i, (module, graph) in enumerate(zip(seen.module_outputs, seen.outputs, strict=True)):
        # What a layer on bytes makes is judged by what that means.
        given = [graph.value if i in r.exact else r.outputs[i] for r in runs]
        differences = [_difference(v.reshape(graph.value.shape), graph) for v in given]
        freely = _difference(free[i], module)
        if graph.ambiguous is not None and artifact.description.normalization:
            # What rounding of 16 bits moves is not known to be ambiguous: only an index that was
            # computed from the framework's own values has to be its index.
            differences, freely = differences[:1], differences[0]
        checks.append(
            OutputCheck(
                artifact.manifest["outputs"][i]["name"],
                float(freely.max(initial=0.0)),
                max(float(d.max(initial=0.0)) for d in differences),
                graph.rounding,
                max(int(np.count_nonzero(~(d <= graph.rounding))) for d in differences),
                top1(free[i], module.value),
                graph.ambiguous is not None and module.value.dtype.kind in "biu",
            )
        )
    return checks


def _difference(a: NDArray[Any], truth: Truth) -> NDArray[np.float64]:
    """0 where equal, also infinities and NaNs, and where rounding decides an integer."""
    b = truth.value
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(np.asarray(a, np.float64) - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if truth.ambiguous is not None:
        same |= truth.ambiguous
    return np.where(same, 0, difference)


def _unchecked(artifact: Artifact, network: Network, played: playback.Played) -> tuple[str, ...]:
    """Signs that no buffer holds, but for those inside a float kernel, whose output is compared."""
    origins = network.imported.origins
    # A sign that is packed along another dimension too has a name for each.
    compared = {origins[n].value for n in (*played.differing, *played.flipped)}
    signs = {o.value: n for n, o in reversed(list(origins.items())) if o.source}
    missing = [n for value, n in signs.items() if value not in compared]
    inside = sum(
        text == "float sign" or (text.startswith("sign(") and at < len(step["fused"]) - 1)
        for step in artifact.manifest["steps"]
        for at, text in enumerate(step["fused"])
    )
    return tuple(missing[inside:])


def _export_difference(
    network: Network, seen: Observation, inputs: Sequence[NDArray[Any]]
) -> float:
    """0 where the module's outputs are its graph's; else what float64 says."""
    if seen.decided_zeros == 0 and all(
        np.all(_difference(m.value, g) <= g.rounding)
        for m, g in zip(seen.module_outputs, seen.outputs, strict=True)
    ):
        return 0.0
    return network.imported.oracle.exact_difference(inputs)
