"""Whole networks, one thread, 224x224, batch 1: bnn_compiler against other programs, in one run.

`python -m benchmarks.end_to_end` compiles each network for this CPU, builds the peers from the same
torch model, and lets all take turns on one core. It prints a table and writes it, with the machine,
the versions and the load, to benchmarks/results/<name>.md and .json.

`--peers` chooses them:

- `openvino`: the network as its authors wrote it and, where it differs, `openvino folded`, the same
  function with fewer operations (peer_weights.fold);
- `float`: ResNet-18 in place of Bi-Real-18, in float32 and int8 (float_peers.py);
- `larq`: Larq Compute Engine, both of its kernels (larq_peer.py);
- `tvm`: TVM without bnn_compiler (tvm_peer.py).
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import bnn_compiler
from benchmarks import isa, machine, peers, report, roofline
from benchmarks.peer_weights import Floats
from benchmarks.peers import SHAPE, Peers
from benchmarks.report import OURS, Row
from benchmarks.timing import Program, alternate
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.passes.byte_input import Normalization
from bnn_compiler.roofline import rates

_INPUTS = 8
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Agreement:
    """How far a program's outputs agree with its torch model's over some inputs.

    A deep binary network is no exact oracle: one sum almost on a threshold that gets the other
    sign moves every logit (`bnn_compiler.verify` looks at each layer by itself). `correlation` is
    the median over the inputs of Pearson's of the logits.
    """

    network: str
    program: str
    inputs: int
    same_top1: int
    correlation: float

    def __str__(self) -> str:
        return (
            f"{self.network} {self.program}: top-1 as torch on {self.same_top1} of {self.inputs} "
            f"random inputs, median correlation of the logits {self.correlation:.4f}"
        )


@dataclass(frozen=True)
class Subject:
    """A network, its compiled form, and inputs [count, 1, 3, 224, 224].

    ``images`` are the same as bytes, if ours was compiled for those.
    """

    network: str
    model: nn.Module
    artifact: bnn_compiler.Artifact
    inputs: torch.Tensor
    images: NDArray[np.uint8] | None = None

    @property
    def ours(self) -> NDArray[Any]:
        """What our program is given."""
        return self.inputs.numpy() if self.images is None else self.images


def random_network(network: str) -> tuple[nn.Module, torch.Tensor]:
    """A network of peers.NETWORKS with random weights, and inputs; the same ones in every run."""
    torch.manual_seed(0)
    model = peers.NETWORKS[network]()
    inputs = torch.randn((_INPUTS, *SHAPE), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, inputs[0])
    return model, inputs


def compile_ours(
    network: str,
    target: str,
    folder: Path,
    input_dtype: str = "float32",
    *,
    allow_reorder: bool = False,
    rest: str = "float32",
) -> Subject:
    """Compile one network of peers.NETWORKS, for images as floats or as bytes.

    ``rest`` is "int8" for its layers that are not binary in int8, of ranges of the same inputs.
    """
    model, inputs = random_network(network)
    images = None
    if input_dtype == "uint8":
        images = np.random.default_rng(1).integers(0, 256, inputs.shape, np.uint8)
        inputs = torch.from_numpy(np.stack([Normalization(**IMAGENET).apply(x) for x in images]))
    artifact = bnn_compiler.compile(
        model,
        (inputs[0],),
        target=target,
        output=folder / f"{network}.bnn",
        input_dtype=input_dtype,
        allow_reorder=allow_reorder,
        rest=rest,
        calibration=None if rest == "float32" else list(inputs),
        **(IMAGENET if images is not None else {}),
    )
    return Subject(network, model, artifact, inputs, images)


def compare(
    subject: Subject, rivals: Sequence[Peers], *, seconds: float, burst_seconds: float
) -> tuple[list[Row], list[Agreement]]:
    """Time all programs of one network against each other for `seconds`; ours is the first row."""
    x = subject.inputs[0].numpy()
    agreements = _agreements(subject, subject.model, {OURS: subject.artifact.run}, subject.ours)
    programs: dict[str, Program] = {OURS: partial(subject.artifact.run, subject.ours[0])}
    for each in rivals:
        runs = {name: peer.run for name, peer in each.programs.items()}
        agreements += _agreements(subject, each.model, runs, subject.inputs.numpy())
        for name, peer in each.programs.items():
            peer.set_input(x)
            programs[name] = peer.infer
    timings = alternate(programs, seconds=seconds, burst_seconds=burst_seconds)
    return report.rows(subject.network, timings), agreements


def _agreements(
    subject: Subject,
    model: nn.Module,
    programs: Mapping[str, Callable[[Floats], Floats]],
    given: NDArray[Any],
) -> list[Agreement]:
    with torch.inference_mode():
        expected = [model(x).numpy() for x in subject.inputs]
    result = []
    for name, run in programs.items():
        pairs = [(run(x), y) for x, y in zip(given, expected, strict=True)]
        same = sum(got.argmax() == y.argmax() for got, y in pairs)
        correlations = [np.corrcoef(got.ravel(), y.ravel())[0, 1] for got, y in pairs]
        result.append(
            Agreement(subject.network, name, len(pairs), int(same), float(np.median(correlations)))
        )
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare bnn_compiler with other programs.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all with a peer")
    parser.add_argument(
        "--peers", nargs="+", default=["openvino"], choices=peers.GROUPS, help="default: openvino"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each network")
    parser.add_argument("--burst", type=float, default=0.2, help="seconds before the next one")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument(
        "--input-dtype", choices=["float32", "uint8"], default="float32", help="of our program"
    )
    parser.add_argument(
        "--allow-reorder", action="store_true", help="as in bnnc compile; the peers always may"
    )
    parser.add_argument(
        "--rest", choices=["float32", "int8"], default="float32", help="as in bnnc compile"
    )
    parser.add_argument("--isa", choices=isa.KNOWN, help="hold both sides to it, see isa.py")
    parser.add_argument("--target", help="what to compile ours for (default: native, or the isa)")
    parser.add_argument("--name", default="end_to_end", help="name of the result files")
    options = parser.parse_args()
    known = list(dict.fromkeys(n for group in options.peers for n in peers.GROUPS[group]))
    options.networks = options.networks or known
    if unknown := set(options.networks) - set(known):
        parser.error(f"no peer for {', '.join(unknown)}; there are some for {', '.join(known)}")
    if missing := [p for p in peers.packages(options.peers) if not importlib.util.find_spec(p)]:
        parser.error(f"{', '.join(missing)} not installed: pip install -e .[bench]")
    return options


def main() -> None:
    options = _options()
    held = isa.hold(options.isa) if options.isa else "native"
    options.target = options.target or held
    described = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        subjects = [
            compile_ours(
                name,
                options.target,
                Path(folder),
                options.input_dtype,
                allow_reorder=options.allow_reorder,
                rest=options.rest,
            )
            for name in options.networks
        ]
    core = machine.pin(options.core)
    torch.set_num_threads(1)
    features = frozenset(targets.load(options.target).features)
    peaks = isa.usable(rates(), features)
    all_rows: list[Row] = []
    agreements: list[Agreement] = []
    with machine.LoadMeter() as meter:
        for subject in subjects:
            rivals = [make(subject.model) for make in peers.of(subject.network, options.peers)]
            found = compare(subject, rivals, seconds=options.seconds, burst_seconds=options.burst)
            # Inside the meter, which takes a process that goes on for somebody else's.
            for each in rivals:
                each.close()
            all_rows += found[0]
            agreements += found[1]
    bounds = {
        name: 1e3 * roofline.shortest(peaks, roofline.NETWORKS[name])
        for name in options.networks
        # Of float32 arithmetic.
        if name in roofline.NETWORKS and options.rest == "float32"
    }
    path = report.write(
        options.name,
        report.table(all_rows, bounds),
        report.Setting(described, core, meter.load),
        peaks=peaks,
        options=vars(options),
        rows=[asdict(row) for row in all_rows],
        agreements=[asdict(agreement) for agreement in agreements],
    )
    print(path.read_text(), *agreements, sep="\n")
    print(f"written: {path} and {path.with_suffix('.json')}")


if __name__ == "__main__":
    main()
