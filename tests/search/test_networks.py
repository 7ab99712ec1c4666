import functools

import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.nn import BinaryConv2d
from bnn_compiler.search.factory import Factory
from bnn_compiler.search.hypernet import PruningNet
from bnn_compiler.search.networks import (
    mobilenet_v1,
    mobilenet_v1_plan,
    reactnet,
    reactnet_plan,
)
from bnn_compiler.search.recalibrate import recalibrate
from bnn_compiler.search.supernet import Supernet

REACT = functools.partial(reactnet, blocks=(1, 2), num_classes=10)
REACT_FULL = reactnet_plan(0.5, stages=2)
MOBILE = functools.partial(mobilenet_v1, num_classes=10)
MOBILE_FULL = mobilenet_v1_plan(0.0625)


def macs(model, size):
    """Of convolutions and the classifier: (binary, real)."""
    counts = {True: 0, False: 0}

    def count(module, args, output):
        counts[isinstance(module, BinaryConv2d)] += module.weight[0].numel() * output[0].numel()

    for module in model.modules():
        if isinstance(module, (BinaryConv2d, nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return counts[True], counts[False]


def test_at_full_width_the_arithmetic_is_the_papers():
    with torch.device("meta"):
        mobile = mobilenet_v1(mobilenet_v1_plan())
        react = reactnet(reactnet_plan())
    count = sum(p.numel() for p in mobile.parameters())
    # The usual count of MobileNetV1's parameters.
    assert count == 4_231_976
    binary = [m.weight.shape for m in react.modules() if isinstance(m, BinaryConv2d)]
    assert len(binary) == 13 + 8
    assert sum(s.numel() for s in binary if s[2] == 3) == 9 * sum(
        c * c for c in (32, 64, 128, 128, 256, 256, *[512] * 6, 1024)
    )


def test_macs_fall_with_the_plan():
    full = macs(REACT(REACT_FULL), 32)
    less = macs(REACT({**REACT_FULL, "stages.1": 20}), 32)
    assert less[0] < full[0]
    assert less[1] < full[1]


@pytest.mark.parametrize(
    ("build", "full", "plan"),
    [
        (REACT, REACT_FULL, {"stem": 9, "stages.0": 20, "stages.1": 37}),
        (MOBILE, MOBILE_FULL, {"conv1": 1, "blocks.3": 7, "blocks.11": 33, "blocks.12": 50}),
    ],
)
def test_any_plan_runs_and_compiles(build, full, plan, tmp_path):
    torch.manual_seed(0)
    space, images = Factory(build, full), torch.randn(16, 3, 32, 32)
    generated = PruningNet(space, hidden=4)
    assert generated(images, plan).shape == (16, 10)
    net = Supernet(space)
    net(images, plan).sum().backward()
    network = net.network(plan)
    recalibrate(network, [images])
    x = images[:1]
    compiled = bnn_compiler.compile(network, (x,), target="native", output=tmp_path / "net.bnn")
    assert bnn_compiler.verify(compiled, network, [x]).ok
