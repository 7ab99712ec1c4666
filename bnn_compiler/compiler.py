"""The spine: a model and a target in, an artifact out, one call per stage."""

import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy import backend, package
from bnn_compiler.deploy.manifest import manifest
from bnn_compiler.errors import InputError
from bnn_compiler.network import Network, with_own_ranges
from bnn_compiler.options import Options, check_int8
from bnn_compiler.passes.left_in_float import left_in_float
from bnn_compiler.plan import plan, realize
from bnn_compiler.quantization import DEFAULT_METHOD, Calibration, calibrate
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
    check: bool = True,
    batches: Sequence[int] | None = None,
    dump_dir: str | Path | None = None,
    progress: Progress = lambda stage: None,
) -> Artifact:
    """Compile a trained network for one target and load the result, whether or not it runs here.

    ``model`` is an nn.Module, an ExportedProgram, a ``.pt2`` path or ``package.module:factory``;
    ``example_inputs`` are tensors of the shapes to compile for (batch size included); ``batches``
    are the batch sizes to compile for instead, in one artifact with one copy of the weights, whose
    schedules are chosen for the first of them. ``target``
    is a shipped name, a TOML file or "native". ``output`` is the artifact's path: one zip file, or
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
    quantised elsewhere (PT2E, QAT) needs none, its layers keep their scales. Before the
    artifact is written, ``check`` compares it with the module on the example inputs, layer by
    layer, if this machine can run it. ``dump_dir`` gets the IR after every phase.

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
    _check_rest(rest, wanted, calibration, calibrate_by, float_layers)
    progress("import")
    networks = _networks(model, example_inputs, checkpoint, batches, wanted)
    network = networks[0]
    if options.normalization and any(x.dtype != "float32" for x in network.imported.samples):
        raise InputError("input_dtype 'uint8' is for networks whose inputs are all float32 images")
    if network.imported.note:
        log.warning(network.imported.note)
    calibrated: Calibration | None = None
    if rest == "int8":
        samples = calibration, calibrate_by
        options, calibrated = _int8(network, options, samples, float_layers, progress)
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
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        sealed, files = machine.build(Path(folder), program, functions, wanted, draft, progress)
        if check:
            progress("check")
            unchecked = Path(folder) / "draft"
            package.write_artifact(unchecked, sealed, files, as_folder=as_folder)
            checking.check_draft(unchecked, networks, options, progress)
            if calibrated is not None:
                checking.tell_agreement(unchecked, calibrated, progress)
        progress("package")
        package.write_artifact(Path(output), sealed, files, as_folder=as_folder)
    return load(output, run_here=False)


def _check_rest(
    rest: str,
    target: targets.Target,
    calibration: Any,
    calibrate_by: str | None,
    float_layers: Sequence[str],
) -> None:
    """Raise InputError for what ``rest`` cannot be, or for what nobody would use."""
    if rest not in ("float32", "int8"):
        raise InputError(f"rest {rest!r}; known: 'float32', 'int8'")
    if rest == "float32" and (calibration is not None or calibrate_by is not None or float_layers):
        raise InputError("calibration samples, their method and float layers are for rest 'int8'")
    if rest == "int8":
        check_int8(target)


def _int8(
    network: Network,
    options: Options,
    samples: tuple[Any, str | None],
    float_layers: Sequence[str],
    progress: Progress,
) -> tuple[Options, Calibration | None]:
    """``options`` with ranges: those that the network brings, else by ``samples`` and their method.

    Raises InputError for samples that there are not, and for those that nobody would look at.
    """
    images, method = samples
    own = with_own_ranges(network.folded(options), options, float_layers)
    if own is not None:
        if images is not None or method is not None:
            raise InputError(
                "this network was quantised and brings its scales: leave out calibration and"
                " calibrate_by (--calibrate, --calibrate-by)"
            )
        progress(f"int8: {len(own.int8)} layers, by the scales that the network brings")
        return own, None
    if images is None:
        raise InputError("rest 'int8' needs samples to calibrate on: calibration (--calibrate)")
    progress("calibrate")
    found = calibrate(network, options, images, method or DEFAULT_METHOD, float_layers)
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
