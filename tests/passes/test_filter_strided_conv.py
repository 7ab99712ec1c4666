import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler import zoo
from tests import edge


class Stem(nn.Module):
    def __init__(self, kernel=7, stride=2, channels=3, outputs=20):
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


def operators(model, x, folder, **options):
    net = bnn_compiler.compile(model.eval(), (x,), output=folder / "n.bnn", **options)
    return net, [s["op"] for s in net.manifest["steps"]]


@pytest.mark.parametrize("kernel", [5, 7])
def test_same_bits_everywhere(kernel, every_target, tmp_path):
    model, x = Stem(kernel), torch.randn(2, 3, 16, 24)
    zoo.randomize(model, x)
    results = []
    for target in every_target:
        net, found = operators(model, x, tmp_path, target=target, allow_reorder=True)
        assert "bnn.winograd_conv2d" in found and "bnn.to_nhwc" not in found
        assert net.manifest["contract"]["reorder"]
        assert bnn_compiler.verify(net, model, [x]).ok
        for threads in (1, 3):
            net.set_threads(threads)
            results.append(net.run(x).numpy())
    assert all(np.array_equal(r, results[0]) for r in results)
    with torch.inference_mode():
        np.testing.assert_allclose(results[0], model(x).numpy(), atol=1e-4)


def test_not_unless_allowed(tmp_path):
    net, found = operators(Stem(), torch.randn(1, 3, 16, 16), tmp_path)
    assert "bnn.winograd_conv2d" not in found and not net.manifest["contract"]["reorder"]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Stem(kernel=3), (1, 3, 16, 16)),
        (Stem(stride=1), (1, 3, 16, 16)),
        (Stem(channels=5), (1, 5, 16, 16)),
        (Stem(), (1, 3, 18, 16)),
        (Stem(), (1, 3, 4, 300)),
    ],
    ids=["small", "stride 1", "channels", "odd rows", "wide"],
)
def test_must_not_fire(model, shape, tmp_path):
    net, found = operators(model, torch.randn(shape), tmp_path, allow_reorder=True)
    assert "bnn.float_conv2d" in found and not net.manifest["contract"]["reorder"]


def test_weights_that_are_not_finite_stay_in_sequence(tmp_path):
    model = Stem()
    model.conv.weight.data[3, 0, 0, 0] = float("inf")
    x, options = torch.randn(1, 3, 16, 16), {"allow_reorder": True, "check": False}
    _, found = operators(model, x, tmp_path, **options)
    assert "bnn.float_conv2d" in found


def test_an_image_that_others_read_too(tmp_path):
    class Two(Stem):
        def forward(self, x):
            return super().forward(x), nn.functional.max_pool2d(x, 2)

    model, x = Two(), torch.randn(1, 3, 16, 16)
    net, found = operators(model, x, tmp_path, allow_reorder=True)
    assert {"bnn.winograd_conv2d", "bnn.to_nhwc"} <= set(found)
    assert bnn_compiler.verify(net, model, [x]).ok


def test_a_sign_behind_it_and_bytes(tmp_path):
    model, x = edge.binary_net(20), torch.randn(1, 3, 16, 16)
    zoo.randomize(model, x)
    net, found = operators(nn.Sequential(Stem(outputs=3), model), x, tmp_path, allow_reorder=True)
    assert "bnn.winograd_conv2d" in found
    net, found = operators(Stem(), x, tmp_path, allow_reorder=True, input_dtype="uint8")
    assert "bnn.byte_conv2d" in found and not net.manifest["contract"]["reorder"]
