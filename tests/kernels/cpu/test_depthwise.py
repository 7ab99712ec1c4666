import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler import zoo


@pytest.mark.parametrize(
    ("channels", "kernel", "options", "shape"),
    [
        (16, 3, {"padding": 1}, (9, 9)),
        (33, 3, {"padding": 1, "stride": 2}, (8, 11)),
        (100, 5, {"padding": 4, "dilation": 2}, (6, 6)),
        (20, 1, {}, (1, 1)),
        (18, (1, 7), {"padding": (0, 3)}, (3, 8)),
    ],
)
def test_same_bits_as_the_reference(channels, kernel, options, shape, every_target, tmp_path):
    layer = nn.Conv2d(channels, channels, kernel, groups=channels, **options)
    model = nn.Sequential(nn.Conv2d(3, channels, 1), layer, nn.BatchNorm2d(channels)).eval()
    x = torch.randn(3, 3, *shape)
    zoo.randomize(model, x)
    for target in every_target:
        net = bnn_compiler.compile(model, (x,), target=target, output=tmp_path / "n.bnn")
        found = [s for s in net.manifest["steps"] if s["op"] == "bnn.float_conv2d"]
        assert [s["schedule"]["source"] == "fixed" for s in found] == [False, True]
        assert found[1]["macs"] == net.run(x).numel() * layer.weight[0].numel()
        assert bnn_compiler.verify(net, model, [x]).ok


def test_several_outputs_a_channel_and_images_are_no_depthwise(tmp_path):
    for channels, outputs in ((16, 32), (3, 3)):
        body = nn.Conv2d(channels, outputs, 3, groups=channels)
        model = nn.Sequential(nn.Conv2d(3, channels, 1), body) if channels > 3 else body
        x = torch.randn(1, 3, 6, 6)
        net = bnn_compiler.compile(model.eval(), (x,), output=tmp_path / "n.bnn")
        assert all(s["schedule"]["source"] != "fixed" for s in net.manifest["steps"] if s["macs"])
        assert bnn_compiler.verify(net, model, [x]).ok
