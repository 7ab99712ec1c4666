import itertools

import pytest
import torch

from bnn_compiler.errors import ModelError
from bnn_compiler.nn import BinaryConv2d, BinaryLinear
from tests.author_style import HardConv


def signs(*shape):
    return torch.where(torch.randn(shape) >= 0, 1.0, -1.0)


def by_hand(x, conv):
    """The convolution's definition, one tap at a time, in integers."""
    n, c, h, w = x.shape
    weight = torch.where(conv.weight.detach() >= 0, 1, -1)
    o, i, k, _ = weight.shape
    p, s, d = conv.padding, conv.stride, conv.dilation
    padded = torch.full((n, c, h + 2 * p, w + 2 * p), conv.pad_value, dtype=torch.int64)
    padded[:, :, p : p + h, p : p + w] = x.long()
    height, width = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side in (h, w))
    result = torch.zeros(n, o, height, width, dtype=torch.int64)
    for out, y, z in itertools.product(range(o), range(height), range(width)):
        first = out // (o // conv.groups) * i
        patch = padded[:, first : first + i, y * s :, z * s :]
        patch = patch[:, :, : d * (k - 1) + 1 : d, : d * (k - 1) + 1 : d]
        result[:, out, y, z] = (patch * weight[out]).sum((1, 2, 3))
    return result


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 2, 3), (2, 0, 1, 6), (1, 0, 1, 2)],
)
def test_integers(pad_value, stride, padding, dilation, groups):
    conv = BinaryConv2d(
        6,
        12,
        3,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        scale=False,
        pad_value=pad_value,
    )
    x = signs(2, 6, 7, 8)
    assert torch.equal(conv(x).long(), by_hand(x, conv))


def test_scale_is_the_mean_magnitude_as_the_authors_compute_it():
    theirs, ours = HardConv(5, 4, flat=False), BinaryConv2d(5, 4, 3, padding=1)
    ours.weight.data = theirs.weight.data
    x = signs(2, 5, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_scale_has_no_gradient():
    conv = BinaryConv2d(3, 2, 1)
    x = signs(1, 3, 4, 4)
    conv(x).sum().backward()
    alpha = conv.weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
    wanted = alpha * x.sum((0, 2, 3)).reshape(1, 3, 1, 1)
    torch.testing.assert_close(conv.weight.grad, wanted, rtol=1e-5, atol=1e-6)


def test_linear_has_weights_of_exactly_one():
    layer, x = BinaryLinear(9, 4), signs(3, 9)
    wanted = x.long() @ torch.where(layer.weight >= 0, 1, -1).T
    assert torch.equal(layer(x).long(), wanted)


@pytest.mark.parametrize("options", [{"pad_value": 2}, {"groups": 4}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ModelError, match=str(next(iter(options.values())))):
        BinaryConv2d(6, 6, 3, **options)
