"""The 1x1 binary layers of ReActNet-A, timed inside the network, and a bound for each.

Their arithmetic is short and their tensors large, and RPReLU follows, so the bound is the time of
the popcounts plus the time to move the bytes, not the longer of the two.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import bnn_compiler
from bnn_compiler import zoo
from bnn_compiler.runtime.artifact import LayerProfile
from bnn_compiler.runtime.bounds import Peaks

# Input channels, output channels, side of the image.
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Point:
    """1x1 layers of one shape; times in us of the median and the fastest of `count` layers."""

    inputs: int
    outputs: int
    side: int
    count: int
    median_us: float
    minimum_us: float
    gmacs: float
    popcount_us: float
    memory_us: float

    @property
    def bound_us(self) -> float:
        return self.popcount_us + self.memory_us


def measure(target: str, peaks: Peaks, *, repeat: int = 300) -> list[Point]:
    """Compile ReActNet-A and time its 1x1 layers over `repeat` inferences."""
    model = zoo.reactnet_a()
    x = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, x)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reactnet_a.bnn"
        artifact = bnn_compiler.compile(model, (x,), target=target, output=path)
        profiles = artifact.profile(x, repeat=repeat)
    shapes: dict[Shape, list[LayerProfile]] = {}
    for shape, profile in _pointwise(artifact, profiles):
        shapes.setdefault(shape, []).append(profile)
    return [point(shape, each, peaks) for shape, each in shapes.items()]


def table(points: Sequence[Point]) -> str:
    """The layers as a Markdown table."""
    lines = [
        "| 1x1 layer, RPReLU | layers | median us | minimum us | GMAC/s "
        "| popcount us | + bytes us | bound us | of bound |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in points:
        lines.append(
            f"| {each.inputs} to {each.outputs} @ {each.side}x{each.side} | {each.count} "
            f"| {each.median_us:.1f} | {each.minimum_us:.1f} | {each.gmacs:.0f} "
            f"| {each.popcount_us:.1f} | {each.memory_us:.1f} | {each.bound_us:.1f} "
            f"| {each.bound_us / each.minimum_us:.0%} |"
        )
    return "\n".join(lines)


def _pointwise(
    artifact: bnn_compiler.Artifact, profiles: Sequence[LayerProfile]
) -> Iterator[tuple[Shape, LayerProfile]]:
    buffers = {buffer["id"]: buffer["shape"] for buffer in artifact.manifest["buffers"]}
    for step, profile in zip(artifact.manifest["steps"], profiles, strict=True):
        if not profile.binary:
            continue
        inputs = buffers[step["reads"][0]][3]
        _, side, width, outputs = buffers[step["writes"][0]]
        if profile.macs == inputs * outputs * side * width:
            yield (inputs, outputs, side), profile


def point(shape: Shape, layers: Sequence[LayerProfile], peaks: Peaks) -> Point:
    """The layers of one shape as a row."""
    fastest = min(layers, key=lambda layer: layer.seconds_min)
    middle = sorted(layer.seconds for layer in layers)[len(layers) // 2]
    return Point(
        *shape,
        count=len(layers),
        median_us=1e6 * middle,
        minimum_us=1e6 * fastest.seconds_min,
        gmacs=1e-9 * fastest.macs / fastest.seconds_min,
        popcount_us=1e-3 * fastest.macs / peaks.popcount,
        memory_us=1e-3 * fastest.bytes / peaks.level(fastest.bytes).bandwidth,
    )
