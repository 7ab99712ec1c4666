"""Operations and parameters are those of the papers, at 224x224, on the meta device.

Multiply-accumulates of convolutions and dense layers only, as ReActNet's authors count them.
"""

import pytest
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d, BinaryLinear

BINARY = (BinaryConv2d, BinaryLinear)

#: Binary and float multiply-accumulates, 1-bit weights, other parameters, binary layers.
COUNTS = {
    "birealnet18": (1.676e9, 1.378e8, 10_985_472, 704_040, 16),
    "birealnet34": (3.526e9, 1.378e8, 21_086_208, 711_464, 32),
    # The authors' first block also holds a 16 -> 64 convolution that it never runs.
    "birealnet50": (3.597e9, 5.696e8, 20_672_512, 5_057_576 - 16 * 64, 47),
    "react_birealnet18": (1.676e9, 1.378e8, 10_985_472, 718_952, 16),
    "reactnet_a": (4.817e9, 1.186e7, 28_253_184, 1_090_408, 31),
    "reactnet_b": (4.689e9, 4.397e7, 27_554_816, 1_264_008, 21),
    "reactnet_c": (4.689e9, 1.403e8, 27_554_816, 1_787_784, 21),
}


def on_meta(name, **options):
    with torch.device("meta"):
        return zoo.get(name)(**options).eval()


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts(name):
    model = on_meta(name)
    macs = {True: 0, False: 0}

    def count(module, args, output):
        macs[isinstance(module, BINARY)] += output.numel() * module.weight[0].numel()

    layers = [m for m in model.modules() if isinstance(m, (*BINARY, nn.Conv2d, nn.Linear))]
    for layer in layers:
        layer.register_forward_hook(count)
    model(torch.empty(1, 3, 224, 224, device="meta"))
    binary = [m for m in layers if isinstance(m, BINARY)]
    weights = sum(m.weight.numel() for m in binary)
    others = sum(p.numel() for p in model.parameters()) - weights
    bops, flops, *exact = COUNTS[name]
    assert macs[True] == pytest.approx(bops, rel=5e-4)
    assert macs[False] == pytest.approx(flops, rel=5e-4)
    assert [weights, others, len(binary)] == exact


def test_mobinet_has_every_group_size():
    convs = [m for m in on_meta("mobinet").modules() if isinstance(m, BinaryConv2d)]
    for kernel in (1, 3):
        sizes = {m.weight.shape[1] for m in convs if m.weight.shape[2] == kernel}
        assert {1, 2, 4, 8, 256} <= sizes


def test_xnornet_has_every_padding_and_bop_no_scale():
    convs = [m for m in on_meta("xnornet").modules() if isinstance(m, BinaryConv2d)]
    assert {m.pad_value for m in convs} == {-1, 0, 1}
    assert not any(m.scale for m in on_meta("bop_net").modules() if isinstance(m, BinaryConv2d))


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
@pytest.mark.parametrize("width", [0.1, 0.3, 0.7, 1.5])
def test_any_width_and_any_input_channels(name, width):
    model = on_meta(name, width=width, in_channels=5)
    output = model(torch.empty(2, 5, 32, 32, device="meta"))
    assert output.shape[0] == 2


def test_depth_predicts_a_value_per_pixel():
    output = on_meta("bireal_depth")(torch.empty(1, 3, 96, 64, device="meta"))
    assert output.shape == (1, 1, 48, 32)
