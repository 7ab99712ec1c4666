"""Single binary layers: 3x3 against OpenVINO's BinaryConvolution, and ours alone for 1x1.

`python -m benchmarks.layers` prints both tables and writes results/<name>.md and .json. A 3x3
layer, of the shapes of ResNet-18, is one among others: sign, packing, convolution padded by zeros,
batch norm, and a shortcut whose sum is kept as float32. It cannot be timed from outside, so a chain
of DEEP and one of SHALLOW equal layers take turns on both sides, and a layer is their difference
divided by the number of layers between: what a chain has at its ends drops out.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

import bnn_compiler
from benchmarks import machine, points, report
from benchmarks.openvino_peer import Graph, Peer
from benchmarks.report import OURS
from benchmarks.timing import Program, Timing, alternate, ratio
from benchmarks.torch_weights import bireal_block
from bnn_compiler import roofline, zoo
from bnn_compiler import target as targets
from bnn_compiler.errors import BuildError
from bnn_compiler.runtime.bounds import Peaks
from bnn_compiler.zoo.bireal import Block

SHAPES = ((64, 56), (128, 28), (256, 14), (512, 7))
THEIRS = "openvino"
SHALLOW, DEEP = 2, 8


@dataclass(frozen=True)
class Layer:
    """One program's 3x3 layer, `channels` to `channels` on `side` x `side` pixels; times in us.

    `median_us` is the median over rounds of the difference within a round, `minimum_us` the
    difference of the chains' least times. Ratios are our time divided by this one's.
    """

    channels: int
    side: int
    program: str
    median_us: float
    minimum_us: float
    ratio_of_minima: float
    ratio_paired: float
    correlation: float

    @property
    def gmacs(self) -> float:
        """Billions of multiply-accumulates a second at the minimum; taps in the padding count."""
        return 9 * self.channels**2 * self.side**2 / self.minimum_us / 1e3

    def of_peak(self, peaks: Peaks) -> float:
        """The share of the popcount peak that is reached by the taps inside the image alone.

        A kernel may skip the taps in the padding, and OpenVINO's does.
        """
        taps = (3 * self.side - 2) ** 2 * self.channels**2
        return taps / self.minimum_us / 1e3 / peaks.popcount


def chain(channels: int, side: int, depth: int) -> tuple[nn.Sequential, Tensor]:
    """`depth` equal Bi-Real blocks with random weights, and an input."""
    model = nn.Sequential(*(Block(channels, channels, 1, False) for _ in range(depth)))
    x = torch.randn((1, channels, side, side), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, x)
    return model, x


def openvino_chain(model: nn.Sequential, shape: tuple[int, ...]) -> Peer:
    """The same blocks as an OpenVINO graph."""

    def build(graph: Graph, y: ov.Node) -> ov.Node:
        for block in map(bireal_block, model):
            y = graph.bireal_block(y, block.conv, block.down)
        return y

    return Peer(build, shape)


def difference(shallow: Timing, deep: Timing) -> Timing:
    """The time of one layer in every round of two chains that took turns."""
    rounds = zip(shallow.bursts, deep.bursts, strict=True)
    return Timing(
        tuple(
            ((statistics.median(more) - statistics.median(less)) / (DEEP - SHALLOW),)
            for less, more in rounds
        )
    )


def compare(
    channels: int, side: int, *, target: str, seconds: float, burst_seconds: float
) -> list[Layer]:
    """Time a 3x3 layer, ours and OpenVINO's, for `seconds` altogether; ours is the first."""
    programs: dict[str, Program] = {}
    correlations: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for depth in (DEEP, SHALLOW):
            model, x = chain(channels, side, depth)
            path = Path(folder) / f"chain{depth}.bnn"
            artifact = bnn_compiler.compile(model, (x,), target=target, output=path)
            peer = openvino_chain(model, tuple(x.shape))
            with torch.inference_mode():
                expected = model(x).numpy().ravel()
            for name, got in {OURS: artifact.run(x.numpy()), THEIRS: peer.run(x.numpy())}.items():
                correlations[name] = float(np.corrcoef(got.ravel(), expected)[0, 1])
            programs[f"{OURS} {depth}"] = partial(artifact.run, x.numpy())
            programs[f"{THEIRS} {depth}"] = peer.infer
        timings = alternate(programs, seconds=seconds, burst_seconds=burst_seconds)
    return layers(channels, side, timings, correlations)


def layers(
    channels: int, side: int, timings: dict[str, Timing], correlations: dict[str, float]
) -> list[Layer]:
    """Both programs' layer; `timings` has an entry "PROGRAM DEPTH" for each chain.

    `correlations` are those of the shallow chains' outputs with torch's.
    """
    chains = {n: (timings[f"{n} {SHALLOW}"], timings[f"{n} {DEEP}"]) for n in (OURS, THEIRS)}
    each = {name: difference(*pair) for name, pair in chains.items()}
    least = {name: deep.minimum - shallow.minimum for name, (shallow, deep) in chains.items()}
    return [
        Layer(
            channels=channels,
            side=side,
            program=name,
            median_us=1e6 * each[name].median,
            minimum_us=1e6 * least[name] / (DEEP - SHALLOW),
            ratio_of_minima=least[OURS] / least[name],
            ratio_paired=ratio(each[OURS], each[name]).paired,
            correlation=correlations[name],
        )
        for name in (OURS, THEIRS)
    ]


def table(found: Sequence[Layer], peaks: Peaks) -> str:
    """The 3x3 layers as a Markdown table."""
    lines = [
        "| 3x3 layer | program | median us | minimum us | GMAC/s | of popcount peak "
        "| ours / this: minima | paired |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for layer in found:
        lines.append(
            f"| {layer.channels} @ {layer.side}x{layer.side} | {layer.program} "
            f"| {layer.median_us:.1f} | {layer.minimum_us:.1f} | {layer.gmacs:.0f} "
            f"| {layer.of_peak(peaks):.0%} "
            f"| {layer.ratio_of_minima:.2f} | {layer.ratio_paired:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time single binary layers.")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each 3x3 shape")
    parser.add_argument("--burst", type=float, default=0.1, help="seconds before the next one")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--target", default="native")
    parser.add_argument("--name", default="layers", help="name of the result files")
    options = parser.parse_args()
    described = machine.describe()
    core = machine.pin(options.core)
    torch.set_num_threads(1)
    peaks, reason = roofline.peaks(targets.load(options.target).features)
    if peaks is None:
        raise BuildError(reason)
    found: list[Layer] = []
    with machine.LoadMeter() as meter:
        for channels, side in SHAPES:
            found += compare(
                channels,
                side,
                target=options.target,
                seconds=options.seconds,
                burst_seconds=options.burst,
            )
        pointwise = points.measure(options.target, peaks)
    markdown = f"{table(found, peaks)}\n\n{points.table(pointwise)}"
    path = report.write(
        options.name,
        markdown,
        report.Setting(described, core, meter.load),
        options=vars(options),
        peaks=asdict(peaks),
        layers=[{**asdict(layer), "gmacs": layer.gmacs} for layer in found],
        pointwise=[asdict(point) for point in pointwise],
    )
    print(path.read_text())
    for layer in found:
        where = f"{layer.program} {layer.channels} @ {layer.side}"
        print(f"{where}: correlation with torch {layer.correlation:.5f} after {SHALLOW} layers")


if __name__ == "__main__":
    main()
