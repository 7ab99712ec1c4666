"""The networks of the comparison as arrays, free of any framework.

A binary layer is its signs and what follows the integer sum: `scale * integer + bias` per channel
(the weight's scale and the batch norm, folded). Structure: Bi-Real Net (ECCV 2018), ReActNet (ECCV
2020), QuickNet (MLSys 2021). Arrays are float32 unless said otherwise; C stands for channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BIREAL_CHANNELS = (64, 128, 256, 512)
REACT_CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
CLASSES = 1000


@dataclass(frozen=True)
class BinaryConv:
    """`signs`: int8 [out, in, k, k] of +-1; `scale`, `bias`: [out]; zero padding of k // 2."""

    signs: NDArray[np.int8]
    stride: int
    scale: Floats
    bias: Floats


@dataclass(frozen=True)
class FloatConv:
    """`weight`: [out, in, k, k]; `bias`: [out]; zero padding of k // 2."""

    weight: Floats
    bias: Floats
    stride: int = 1


@dataclass(frozen=True)
class Dense:
    """`weight`: [out, in]; `bias`: [out]."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class BiRealBlock:
    """sign, binary convolution, plus a shortcut: identity, or `down` of the 2x2 average."""

    conv: BinaryConv
    down: FloatConv | None


@dataclass(frozen=True)
class BiRealNet:
    """Stem, 3x3 max pool of stride 2, blocks, mean over pixels, head."""

    stem: FloatConv
    blocks: tuple[BiRealBlock, ...]
    head: Dense


@dataclass(frozen=True)
class RPReLU:
    """PReLU between two shifts: `prelu(x + before) + after`; all three [C]."""

    before: Floats
    slope: Floats
    after: Floats


@dataclass(frozen=True)
class ReActHalf:
    """`rprelu(concat(conv(sign(x + shift)) for conv in convs) + shortcut)`.

    The shortcut is x, averaged 2x2 where the stride is 2, and repeated to the output's channels.
    """

    shift: Floats
    convs: tuple[BinaryConv, ...]
    activation: RPReLU


@dataclass(frozen=True)
class ReActNet:
    """Stem, halves (3x3 and 1x1 in turn), mean over pixels, head."""

    stem: FloatConv
    halves: tuple[ReActHalf, ...]
    head: Dense


@dataclass(frozen=True)
class Transition:
    """ReLU, 2x2 max pool of stride 1, depthwise `blur` [C, 1, 3, 3] of stride 2, 1x1 `conv`."""

    blur: FloatConv
    conv: FloatConv


@dataclass(frozen=True)
class QuickNet:
    """`first`, ReLU, a depthwise and a 1x1 convolution; layers; ReLU, mean over pixels, head.

    A BinaryConv among the layers is `x + scale * relu(integer) + bias`, padded by +1.
    """

    first: FloatConv
    depthwise: FloatConv
    pointwise: FloatConv
    layers: tuple[BinaryConv | Transition, ...]
    head: Dense


def random_birealnet18(seed: int) -> BiRealNet:
    """Bi-Real-18 with weights drawn so that activations keep a scale of about one."""
    draw = _Draw(seed)
    channels = BIREAL_CHANNELS[0]
    stem = draw.float_conv(channels, 3, 7, 2)
    blocks = []
    for stage, out in enumerate(BIREAL_CHANNELS):
        for index in range(4):
            stride = 2 if stage > 0 and index == 0 else 1
            down = draw.float_conv(out, channels, 1, 1) if out != channels else None
            blocks.append(BiRealBlock(draw.binary_conv(out, channels, 3, stride), down))
            channels = out
    return BiRealNet(stem, tuple(blocks), draw.dense(channels))


def random_reactnet_a(seed: int) -> ReActNet:
    """ReActNet-A with weights drawn so that activations keep a scale of about one."""
    draw = _Draw(seed)
    stem = draw.float_conv(REACT_CHANNELS[0], 3, 3, 2)
    halves = []
    for channels, out, stride in react_blocks():
        spatial = (draw.binary_conv(channels, channels, 3, stride),)
        pointwise = tuple(
            draw.binary_conv(channels, channels, 1, 1) for _ in range(out // channels)
        )
        halves.append(ReActHalf(draw.vector(channels), spatial, draw.rprelu(channels)))
        halves.append(ReActHalf(draw.vector(channels), pointwise, draw.rprelu(out)))
    return ReActNet(stem, tuple(halves), draw.dense(REACT_CHANNELS[-1]))


def react_blocks() -> Iterator[tuple[int, int, int]]:
    """Input channels, output channels and stride of each block of ReActNet-A."""
    for channels, out in pairwise(REACT_CHANNELS):
        yield channels, out, 2 if out != channels and out != 64 else 1


def fold(net: ReActNet) -> ReActNet:
    """The same function with less to do: one convolution a half, and no shifts around PReLU.

    An activation is kept without the shift added last; the shift moves into whatever reads it.
    Equal in real numbers; in float32 the sums round differently.
    """
    halves = []
    held_back: Floats = np.zeros_like(net.halves[0].shift)
    for half in net.halves:
        conv = _merge(half.convs)
        repeat = len(conv.bias) // len(held_back)
        bias = conv.bias + np.tile(held_back, repeat) + half.activation.before
        zero = np.zeros_like(bias)
        halves.append(
            ReActHalf(
                half.shift + held_back,
                (replace(conv, bias=bias),),
                RPReLU(zero, half.activation.slope, zero),
            )
        )
        held_back = half.activation.after
    head = replace(net.head, bias=net.head.bias + net.head.weight @ held_back)
    return ReActNet(net.stem, tuple(halves), head)


def _merge(convs: tuple[BinaryConv, ...]) -> BinaryConv:
    return BinaryConv(
        signs=np.concatenate([conv.signs for conv in convs]),
        stride=convs[0].stride,
        scale=np.concatenate([conv.scale for conv in convs]),
        bias=np.concatenate([conv.bias for conv in convs]),
    )


class _Draw:
    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def vector(self, size: int, scale: float = 0.1) -> Floats:
        return (self._random.standard_normal(size) * scale).astype(np.float32)

    def float_conv(self, out: int, channels: int, kernel: int, stride: int) -> FloatConv:
        spread = (channels * kernel * kernel) ** -0.5
        weight = self._random.standard_normal((out, channels, kernel, kernel)) * spread
        return FloatConv(weight.astype(np.float32), self.vector(out), stride)

    def binary_conv(self, out: int, channels: int, kernel: int, stride: int) -> BinaryConv:
        signs = self._random.integers(0, 2, (out, channels, kernel, kernel), dtype=np.int8) * 2 - 1
        spread = (channels * kernel * kernel) ** -0.5
        scale = (spread * self._random.uniform(0.5, 1.5, out)).astype(np.float32)
        return BinaryConv(signs.astype(np.int8), stride, scale, self.vector(out))

    def rprelu(self, channels: int) -> RPReLU:
        slope = self._random.uniform(0.1, 0.4, channels).astype(np.float32)
        return RPReLU(self.vector(channels), slope, self.vector(channels))

    def dense(self, channels: int) -> Dense:
        weight = self._random.standard_normal((CLASSES, channels)) * channels**-0.5
        return Dense(weight.astype(np.float32), self.vector(CLASSES))
