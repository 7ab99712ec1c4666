import pytest
import torch
from torch import nn
from torch.nn import functional

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.nn import Sign
from tests.network import Function, assert_agrees, fused, image


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding(kernel, dilation):
    conv = nn.Conv2d(3, 5, kernel, padding="same", dilation=dilation)
    assert_agrees(conv, image(3, 9))


def test_same_padding_of_a_binary_convolution():
    conv = nn.Conv2d(3, 5, 4, padding="same")
    conv.weight.data = torch.where(conv.weight >= 0, 1.0, -1.0)
    graph = assert_agrees(nn.Sequential(Sign(), conv), image(3, 9))
    assert any("bnn.conv2d" in str(v) for v in graph.values.values())


AGREE = {
    "alpha": lambda m, x: torch.add(x, 2 * x, alpha=3) - torch.sub(x, x.neg(), alpha=2),
    "rsub": lambda m, x: torch.rsub(x, 1, alpha=3) + (2 - x),
    "one value twice": lambda m, x: x + x,
    "masked channels": lambda m, x: x * torch.tensor([True, False, True]).view(3, 1, 1),
    "integers": lambda m, x: x * torch.arange(3).view(3, 1, 1) + torch.tensor(3),
    "slopes": lambda m, x: functional.leaky_relu(x, -0.5) + functional.leaky_relu(x, 1.7),
    "rrelu": lambda m, x: functional.rrelu(x),
    "clips": lambda m, x: functional.hardtanh(x, min_val=-0.2, max_val=0.3) + x.clamp(max=0.1),
    "padded maximum": lambda m, x: functional.max_pool2d(x - 9, 3, 2, 1),
    "dilated maximum": lambda m, x: functional.max_pool2d(x, 2, 1, 0, 3),
    "maximum, first result": lambda m, x: functional.max_pool2d(x, 2, return_indices=True)[0],
    "averages": lambda m, x: (
        functional.avg_pool2d(x, 3, 2, 1)
        - functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    ),
    "means": lambda m, x: x.mean((3, 2)) - x.mean((-1, -2), keepdim=True).flatten(1) * 2,
}


@pytest.mark.parametrize("name", AGREE)
def test_every_argument_counts(name):
    assert_agrees(Function(AGREE[name]), image(3, 9, batch=2))


def test_batch_norm_with_a_whole_epsilon():
    assert_agrees(nn.BatchNorm2d(3, eps=1, affine=False), image(3))


LAYERS = (
    nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
    nn.ConvTranspose2d(3, 5, 3),
    nn.Linear(9, 3),
)
GENERAL = {
    "floor": lambda m, x: torch.div(x, 2, rounding_mode="floor"),
    "another mean": lambda m, x: x.mean(1, keepdim=True),
    "mean of a vector": lambda m, x: x.flatten(1).mean((-2, -1), keepdim=True),
    "larger by a constant": lambda m, x: x + torch.ones(3, 3, 1, 1),
    "divisor": lambda m, x: functional.avg_pool2d(x, 2, divisor_override=3),
    "ceil": lambda m, x: functional.max_pool2d(x, 2, ceil_mode=True),
    "reflected convolution": lambda m, x: m[0](x),
    "transposed convolution": lambda m, x: m[1](x),
    "matrix product of images": lambda m, x: m[2](x),
}


@pytest.mark.parametrize("name", GENERAL)
def test_forms_of_any_rank(name):
    assert_agrees(Function(GENERAL[name], *LAYERS), image(3, 9))


REFUSED = {
    "float64": (lambda m, x: x.mean((2, 3), dtype=torch.float64), "torch.float64"),
    "indices": (lambda m, x: functional.max_pool2d(x, 2, return_indices=True)[1], "int64"),
    "norm in training": (
        lambda m, x: functional.batch_norm(x, torch.zeros(3), torch.ones(3), training=True),
        "own statistics",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_argument_is_ignored(name):
    function, match = REFUSED[name]
    with pytest.raises(UnsupportedError, match=match):
        fused(Function(function), image(3, 9))
