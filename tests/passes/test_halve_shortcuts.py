import numpy as np
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph
from bnn_compiler.passes import pipeline
from tests.network import Applied, imported


def first():
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16))


def binary(inputs, outputs, stride=1):
    conv = BinaryConv2d(inputs, outputs, 3, stride=stride, padding=1)
    return nn.Sequential(Sign(), conv, nn.BatchNorm2d(outputs))


def stored(function, *layers):
    """(operator, how each result is stored) of a network that is near PyTorch's."""
    model, x = Applied(function, *layers).eval(), torch.randn(1, 3, 8, 8)
    zoo.randomize(model, x)
    graph = Graph.of(pipeline.run(imported(model, x), allow_reorder=True, half=True))
    values = evaluate.run(graph, [x.numpy()])
    with torch.no_grad():
        wanted = model(x)
    wanted = (wanted if isinstance(wanted, tuple) else (wanted,))[0].numpy()
    # Where a sign turns around, what is behind it differs by more.
    error = np.abs(values[graph.outputs[0]] - wanted) / np.abs(wanted).max()
    assert 0 < np.median(error) < 2.0**-9
    return [
        (name, [str(out.storage.dtype) for out in ops.epilogue_of(call).outputs])
        for call in graph.values.values()
        if (name := ops.anchor_name(call))
    ]


def test_sums_pools_and_convolutions_read_halves():
    down = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32))

    def network(x, first, same, other, down, last):
        x = first(x)
        x = x + same(x)
        x = down(x) + other(x)
        return last(x.mean((2, 3)))

    layers = (first(), binary(16, 16), binary(16, 32, 2), down, nn.Linear(32, 10))
    assert stored(network, *layers) == [
        ("half_image_conv2d", ["float16", "uint32"]),
        ("conv2d", ["float16", "uint32"]),
        ("avg_pool2d", ["float16"]),
        ("half_conv2d", ["float16"]),
        ("conv2d", ["float16"]),
        ("global_mean", ["float32"]),
        ("half_conv2d", ["float32"]),
    ]


def test_outputs_and_what_others_read_stay_float32():
    def output(x, first, layer):
        x = first(x)
        return layer(x) + x, x

    def softmax(x, first, layer):
        x = first(x)
        return layer(x) + x + torch.softmax(x, -1)

    for function in (output, softmax):
        found = stored(function, first(), binary(16, 16))
        assert not any("float16" in kinds for _, kinds in found), found
