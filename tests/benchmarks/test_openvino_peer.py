"""The peer computes what the networks mean: else its time is no yardstick."""

import numpy as np
import pytest

pytest.importorskip("openvino", reason="the peer needs OpenVINO")

from benchmarks.openvino_peer import Peer, birealnet, reactnet
from benchmarks.peer_weights import (
    BinaryConv,
    Floats,
    ReActHalf,
    RPReLU,
    fold,
    random_birealnet18,
    random_reactnet_a,
)


def integers(x: Floats, shift: Floats, conv: BinaryConv) -> np.ndarray:
    """sign(x + shift) convolved with the signs of `conv`, in int64, padded by zeros."""
    signs = np.where(x + shift[:, None, None] >= 0, 1, -1).astype(np.int64)
    _, _, size, _ = conv.signs.shape
    pad = size // 2
    padded = np.pad(signs, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    windows = windows[:, :, :: conv.stride, :: conv.stride]
    return np.einsum("nchwij,ocij->nohw", windows, conv.signs.astype(np.int64))


def random_conv(
    rng: np.random.Generator, channels: int, out: int, size: int, stride: int
) -> BinaryConv:
    signs = rng.choice(np.array([-1, 1], np.int8), (out, channels, size, size))
    scale, bias = rng.standard_normal((2, out), np.float32)
    return BinaryConv(signs, stride, scale, bias)


@pytest.mark.parametrize(
    ("channels", "out", "side", "size", "stride"),
    [
        (64, 64, 8, 3, 1),
        (64, 128, 8, 3, 2),
        (32, 32, 10, 3, 1),
        (512, 512, 7, 3, 1),
        (256, 512, 4, 1, 1),
        (40, 24, 9, 3, 1),
    ],
)
def test_binary_convolution_is_exact(
    channels: int, out: int, side: int, size: int, stride: int
) -> None:
    rng = np.random.default_rng(channels + out)
    x = rng.standard_normal((1, channels, side, side), np.float32)
    shift = rng.standard_normal(channels, np.float32)
    conv = random_conv(rng, channels, out, size, stride)
    peer = Peer(lambda graph, node: graph.binary_conv(node, shift, conv), x.shape)
    np.testing.assert_array_equal(peer.run(x), integers(x, shift, conv))


def test_sign_of_zero_is_plus_one() -> None:
    rng = np.random.default_rng(3)
    conv = random_conv(rng, 64, 64, 3, 1)
    x = np.where(rng.random((1, 64, 6, 6)) < 0.5, 0.0, -1.0).astype(np.float32)
    x[0, ::2] = -x[0, ::2]  # zeros of both signs
    shift = np.zeros(64, np.float32)
    shift[:32] = 1.0  # -1 + 1 is zero too
    peer = Peer(lambda graph, node: graph.binary_conv(node, shift, conv), x.shape)
    np.testing.assert_array_equal(peer.run(x), integers(x, shift, conv))


@pytest.mark.parametrize(("out", "size", "stride"), [(64, 3, 1), (64, 3, 2), (128, 1, 1)])
def test_half_of_a_reactnet_block(out: int, size: int, stride: int) -> None:
    rng = np.random.default_rng(out + stride)
    x = rng.standard_normal((1, 64, 12, 12), np.float32)
    convs = tuple(random_conv(rng, 64, 64, size, stride) for _ in range(out // 64))
    before, after, slope = rng.standard_normal((3, out), np.float32)
    half = ReActHalf(
        rng.standard_normal(64, np.float32), convs, RPReLU(before, np.abs(slope), after)
    )
    peer = Peer(lambda graph, node: graph.react_half(node, half), x.shape)

    shortcut = x if stride == 1 else x.reshape(1, 64, 6, 2, 6, 2).mean((3, 5))
    y = np.concatenate(
        [
            integers(x, half.shift, conv) * conv.scale[:, None, None]
            + conv.bias[:, None, None]
            + shortcut
            for conv in convs
        ],
        1,
    )
    y += before[:, None, None]
    y = np.where(y > 0, y, np.abs(slope)[:, None, None] * y) + after[:, None, None]
    # The plugin fuses multiply and add, numpy rounds between them.
    np.testing.assert_allclose(peer.run(x), y, rtol=1e-5, atol=1e-4)


def test_fold_keeps_the_function() -> None:
    net = random_reactnet_a(0)
    x = np.random.default_rng(5).standard_normal((1, 3, 64, 64), np.float32)
    plain, folded = (reactnet(each, x.shape).run(x) for each in (net, fold(net)))
    # One sign decided differently moves every logit, so they are compared as a whole.
    assert np.corrcoef(plain.ravel(), folded.ravel())[0, 1] > 0.95
    assert all(not half.activation.before.any() for half in fold(net).halves)


def test_profile_names_every_binary_convolution() -> None:
    x = np.zeros((1, 3, 64, 64), np.float32)
    peer = birealnet(random_birealnet18(0), x.shape, profile=True)
    peer.set_input(x)
    nodes = {node.kind: node.nodes for node in peer.profile(20)}
    assert nodes["BinaryConvolution"] == 16
