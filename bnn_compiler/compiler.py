"""The spine: a model and a target in, an artifact out, one call per stage."""

import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy import backend, package
from bnn_compiler.deploy.manifest import manifest, rest_entry
from bnn_compiler.errors import InputError
from bnn_compiler.network import Network, with_own_ranges
from bnn_compiler.options import Options, check_int8
from bnn_compiler.passes.left_in_float import left_in_float
from bnn_compiler.plan import plan, realize
from bnn_compiler.quantization import (
    DEFAULT_METHOD,
    DEFAULT_TOLERANCE,
    Calibration,
    Choices,
    calibrate,
    choices,
)
from bnn_compiler.runtime import Artifact, load
from bnn_compiler.verification import checking

log = logging.getLogger("bnn_compiler")
Progress = Callable[[str], None]


def compile(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    target: str | Path = "native",
    output: str | Path,
    name: str | None = None,
    checkpoint: str | Path | None = None,
    zero_weight: str = "exact",
    input_dtype: str = "float32",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    schedules: str | Path | None = None,
    as_folder: bool = False,
    threads: bool | None = None,
    allow_reorder: bool = False,
    rest: str = "float32",
    calibration: Any = None,
    calibrate_by: str | None = None,
    float_layers: Sequence[str] = (),
    tolerance: float | None = None,
    check: bool = True,
    batches: Sequence[int] | None = None,
    dump_dir: str | Path | None = None,
    progress: Progress = lambda stage: None,
) -> Artifact:
    """Compile a trained network for one target and load the result, whether or not it runs here.

    ``model`` is an nn.Module, an ExportedProgram, an onnx.ModelProto, a ``.pt2`` or ``.onnx`` path
    or ``package.module:factory``; ``example_inputs`` are tensors of the shapes to compile for
    (batch size included); ``batches`` are the batch sizes to compile for instead, in one artifact
    with one copy of the weights, whose schedules are chosen for the first of them. ``target`` is a
    shipped name, a TOML file or "native". ``output`` is the artifact's path: one zip file, or
    a folder if ``as_folder``. ``schedules`` is a file of tuned records that go before the shipped
    ones. ``zero_weight`` says what becomes of binary weights that are exactly 0: "exact" computes
    them, at twice the work of their layer, "error" refuses them, "+1" and "-1" read them as that,
    which makes another network. With ``input_dtype`` "uint8" the program takes images as bytes
    and the network sees (byte / 255 - mean) / std, computed in the first convolution. ``threads``
    False leaves the thread pool out; None does what the target says. ``allow_reorder`` lets large
    strided float convolutions of the image add in another order, which takes half the time: still
    the same bits on every CPU, but not those of the order that PyTorch adds in; on a GPU it lets
    tensor cores compute float layers, of operands rounded to float16. With ``rest``
    "int8" convolutions and linear layers that are not binary run on bytes with 8-bit weights, but
    for ``float_layers`` (names as ``bnnc check`` lists them); their ranges come from the images of
    ``calibration`` (arrays of the program's input, one image or several each), chosen by
    ``calibrate_by``: "min-max", "percentile", "mse" (the default) or "entropy"; a network that was
    quantised elsewhere (PT2E, QAT) needs none, its layers keep their scales. With ``rest`` "auto"
    those of them do that are faster so, the most time saved for a sign turned around first, while
    the top-1 class of at most ``tolerance`` of the samples (default 0.01) is another; ``rest`` of
    the manifest says what each layer gained and cost. Before the artifact is written, ``check``
    compares it with the module on the example inputs, layer by layer, if this machine can run it.
    ``dump_dir`` gets the IR after every phase.

    Raises ModelError, UnsupportedError, InputError, TargetError, ScheduleError, BuildError,
    ArtifactError, or MismatchError if the check fails.
    """
    if name is not None and not (name.isidentifier() and name.isascii()):
        raise InputError(f"name {name!r}: give a C identifier, or none to take the output's")
    wanted = targets.load(target)
    if threads is not None:
        wanted = replace(wanted, threads=threads)
    machine = backend.of(wanted)
    machine.check(wanted)
    known = Schedules.load(wanted, Path(schedules) if schedules else None)
    options = Options.of(zero_weight, input_dtype, mean, std, allow_reorder)
    options = options.on(wanted.hardware.kind)
    wish = _Wish(rest, calibration, calibrate_by, tuple(float_layers), tolerance)
    wish.check(wanted)
    progress("import")
    networks = _networks(model, example_inputs, checkpoint, batches, wanted)
    network = networks[0]
    if options.normalization and any(x.dtype != "float32" for x in network.imported.samples):
        raise InputError("input_dtype 'uint8' is for networks whose inputs are all float32 images")
    if network.imported.note:
        log.warning(network.imported.note)
    options, calibrated, chosen = _quantised(network, options, known, wish, progress)
    progress("passes")
    graphs = [network.fused(options, Path(dump_dir) if dump_dir else None)]
    graphs += [other.fused(options) for other in networks[1:]]
    for line in left_in_float(graphs[0]):
        log.warning(line)
    prefix = name or _identifier(Path(output).stem)
    progress("kernels")
    plans = dict(zip(batches or (0,), map(plan.plan, graphs), strict=True))
    program, functions = realize.realize_batches(plans, known, prefix)
    if not any(s.op in ("bnn.conv2d", "bnn.matmul") for s in program.steps):
        kernels = "int8 and float" if options.int8 else "float"
        log.warning(f"no binary layer was recognised: this network runs as {kernels} kernels only")
    draft = manifest(
        program, prefix, known, network, options, static_weights=as_folder, others=networks[1:]
    )
    draft = replace(draft, rest=None if chosen is None else rest_entry(chosen))
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        sealed, files = machine.build(Path(folder), program, functions, wanted, draft, progress)
        if check:
            progress("check")
            unchecked = Path(folder) / "draft"
            package.write_artifact(unchecked, sealed, files, as_folder=as_folder)
            checking.check_draft(unchecked, networks, options, progress)
            if calibrated is not None and calibrated.ranges:
                checking.tell_agreement(unchecked, calibrated, progress)
        progress("package")
        package.write_artifact(Path(output), sealed, files, as_folder=as_folder)
    return load(output, run_here=False)


@dataclass(frozen=True)
class _Wish:
    """What is asked for of layers that are not binary."""

    rest: str
    samples: Any
    method: str | None
    float_layers: tuple[str, ...]
    tolerance: float | None

    def check(self, target: targets.Target) -> None:
        """Raise InputError for what ``rest`` cannot be, or for what nobody would use."""
        rest = self.rest
        if rest not in ("float32", "int8", "auto"):
            raise InputError(f"rest {rest!r}; known: 'float32', 'int8', 'auto'")
        unused = self.samples is not None or self.method is not None or self.float_layers
        if rest == "float32" and unused:
            raise InputError(
                "calibration samples, their method and float layers are for rest 'int8' and 'auto'"
            )
        if self.tolerance is not None and rest != "auto":
            raise InputError("a tolerance is for rest 'auto'")
        if rest != "float32":
            check_int8(target, rest)


#: Options with ranges, and where those come from.
_Quantised = tuple[Options, Calibration | None, Choices | None]


def _quantised(
    network: Network, options: Options, known: Schedules, wish: _Wish, progress: Progress
) -> _Quantised:
    """``options`` with ranges for the layers that ``wish`` has on bytes.

    Raises InputError for samples that there are not, and for those that nobody would look at.
    """
    if wish.rest == "float32":
        return options, None, None
    if wish.rest == "int8":
        return *_int8(network, options, wish, progress), None
    progress("choose")
    chosen, calibrated = choices(
        network,
        options,
        known,
        wish.samples,
        method=wish.method,
        float_layers=wish.float_layers,
        tolerance=DEFAULT_TOLERANCE if wish.tolerance is None else wish.tolerance,
        tell=progress,
    )
    for line in chosen.lines():
        progress(line)
    return replace(options, int8=chosen.ranges), calibrated, chosen


def _int8(
    network: Network, options: Options, wish: _Wish, progress: Progress
) -> tuple[Options, Calibration | None]:
    """By the ranges that the network brings, else by samples."""
    own = with_own_ranges(network.folded(options), options, wish.float_layers)
    if own is not None:
        if wish.samples is not None or wish.method is not None:
            raise InputError(
                "this network was quantised and brings its scales: leave out calibration and"
                " calibrate_by (--calibrate, --calibrate-by)"
            )
        progress(f"int8: {len(own.int8)} layers, by the scales that the network brings")
        return own, None
    if wish.samples is None:
        raise InputError("rest 'int8' needs samples to calibrate on: calibration (--calibrate)")
    progress("calibrate")
    method = wish.method or DEFAULT_METHOD
    found = calibrate(network, options, wish.samples, method, wish.float_layers)
    return replace(options, int8=found.ranges), found


def _networks(
    model: Any,
    example_inputs: Sequence[Any] | None,
    checkpoint: str | Path | None,
    batches: Sequence[int] | None,
    target: targets.Target,
) -> tuple[Network, ...]:
    if batches is None:
        return (Network.of(model, example_inputs, checkpoint=checkpoint),)
    if len(batches) > 1 and target.hardware.kind != "llvm":
        raise InputError(
            f"batches {list(batches)}: an artifact for {target.name} holds one size; compile one"
            " for each"
        )
    return Network.of_batches(model, example_inputs, batches, checkpoint=checkpoint)


def _identifier(text: str) -> str:
    """A C name made of ``text``."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return name if re.match(r"[A-Za-z]", name) else f"net{name}"
