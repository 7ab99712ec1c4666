import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from tvm import relax

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.graph import Graph, affine, bind
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.binarize_conv import BinarizeConv
from tests.network import Applied, after, image

CONV = nn.Conv2d(4, 4, 3)
BINARY, OTHER = (nn.Sequential(Sign(), BinaryConv2d(4, 4, 3, scale=False)) for _ in range(2))


def padded_average(x):
    """Of 9 elements, at the border of 6, in corners of 4."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def norm(bias, mean=0.3):
    bn = nn.BatchNorm2d(4)
    bn.bias.data.fill_(bias), bn.running_mean.fill_(mean)
    return bn


def atoms_of(function, *layers):
    """The facts of a network, and its result before the last change of layout."""
    graph = after(Applied(function, *layers), image(4), BinarizeConv())
    return Atoms(graph), graph.values[graph.outputs[0]].args[0]


def test_networks_are_deeper_than_the_stack():
    last = x = relax.Var("x", relax.TensorType([1, 2, 2, 4], "float32"))
    values = {}
    for i in range(1200):
        call = affine(last, np.full(4, 1.5), np.full(4, i))
        last = bind(call, f"v{i}")
        values[last] = call
    atoms = Atoms(Graph([x], values, [last]))
    assert not atoms.fact(last).only
    assert atoms.may_be_zero(last)


@pytest.mark.parametrize(
    ("zero", "function", "layers"),
    [
        (True, lambda x: F.relu(x), ()),
        (False, lambda x, conv: conv(x), (CONV,)),
        (True, lambda x, conv: F.relu(conv(x)), (CONV,)),
        (True, lambda x, conv: F.relu6(conv(x)) * 0.3, (CONV,)),
        (True, lambda x, conv: F.max_pool2d(F.relu(conv(x)), 2), (CONV,)),
        (True, lambda x, conv: F.avg_pool2d(F.relu(conv(x)), 2), (CONV,)),
        (True, lambda x, conv: F.pad(conv(x), (1, 1)), (CONV,)),
        (False, lambda x, conv: F.pad(conv(x), (1, 1)) + 0.1, (CONV,)),
        (True, lambda x, conv: F.hardtanh(conv(x)) + 1, (CONV,)),
        (False, lambda x, conv: F.hardtanh(conv(x)), (CONV,)),
        (False, lambda x, conv, bn: bn(F.relu(conv(x))), (CONV, norm(0.2))),
        (True, lambda x, conv, bn: bn(F.relu(conv(x))), (CONV, norm(0.0, mean=0.0))),
        (True, lambda x, conv: torch.cat([conv(x), F.relu(conv(x))], 1), (CONV,)),
        (True, lambda x, conv: F.relu(conv(x)) - conv(x), (CONV,)),
        (True, lambda x, a, b: F.relu(a(x)) + F.relu(b(x)), (CONV, nn.Conv2d(4, 4, 3))),
        (False, lambda x, a, b: F.relu(a(x)) + b(x), (CONV, nn.Conv2d(4, 4, 3))),
        (True, lambda x, conv: F.interpolate(F.relu(conv(x)), scale_factor=2), (CONV,)),
        (True, lambda x, conv: conv(x), (BINARY,)),
        (True, lambda x, conv, act: act(conv(x)) * 0.3, (BINARY, nn.PReLU(4))),
        (True, lambda x, conv: conv(x) * 0.3 - 0.3 * 4, (BINARY,)),
        (False, lambda x, conv, bn: bn(conv(x)), (BINARY, norm(0.2))),
        (True, lambda x, conv, bn: bn(conv(x)), (BINARY, norm(0.0, mean=0.0))),
        (False, lambda x, conv: conv(x) + 0.5, (BINARY,)),
        (False, lambda x, a, b: a(x) + b(x), (BINARY, CONV)),
        (False, lambda x, a, b, n: n(a(x)) + b(x) * 0.123, (BINARY, OTHER, norm(0.2))),
        (False, lambda x, c, b, n: n(b(x)) + F.hardtanh(c(x)), (CONV, BINARY, norm(0.2))),
        (
            False,
            lambda x, c, a, b, n: n(b(x)) + F.hardtanh(n(a(x)) + F.hardtanh(c(x))),
            (CONV, BINARY, OTHER, norm(0.2)),
        ),
        (False, lambda x, c, b: b(x) + F.hardtanh(c(x)), (CONV, BINARY)),
        (True, lambda x, c, b: b(x) + 2 * F.hardtanh(c(x)), (CONV, BINARY)),
        (True, lambda x, c, b: F.hardtanh(b(x) * 0.25) + F.hardtanh(c(x)), (CONV, BINARY)),
        (True, lambda x, conv: F.avg_pool2d(F.hardtanh(conv(x)), 2), (CONV,)),
        (False, lambda x, conv: F.avg_pool2d(F.hardtanh(conv(x)), 2) + 0.1, (CONV,)),
        (True, lambda x, conv: F.avg_pool2d(F.hardtanh(conv(x)), 2) + 0.5, (CONV,)),
        (False, lambda x, conv: padded_average(F.hardtanh(conv(x))) + 0.1, (CONV,)),
        (True, lambda x, conv: padded_average(F.hardtanh(conv(x))) + 0.5, (CONV,)),
        (True, lambda x, conv: F.hardtanh(conv(x)).mean((2, 3), True) - 0.5, (CONV,)),
        (True, lambda x, conv: F.pad(conv(x), (0, 0, 0, 0, 1, 1)), (CONV,)),
        (False, lambda x, conv: F.pad(conv(x), (0, 0, 0, 0, 1, 1)) + 0.1, (CONV,)),
        (True, lambda x, conv: F.pad(F.hardtanh(conv(x)), (0, 0, 0, 0, 1, 1)) + 1, (CONV,)),
        (False, lambda x, conv: conv(x)[:, :, ::2, ::2], (CONV,)),
        (True, lambda x, conv: F.relu(conv(x))[:, :, ::2], (CONV,)),
    ],
)
def test_where_zero_is_more_than_an_accident(zero, function, layers):
    atoms, result = atoms_of(function, *layers)
    assert atoms.may_be_zero(result) == zero


def test_an_odd_number_of_signs_never_adds_up_to_zero():
    odd = nn.Sequential(Sign(), BinaryConv2d(3, 4, 3, scale=False))
    padded = nn.Sequential(Sign(), BinaryConv2d(3, 4, 3, scale=False, padding=1))
    for model, zero in ((odd, False), (padded, True)):
        graph = after(model, image(3), BinarizeConv())
        result = graph.values[graph.outputs[0]].args[0]
        assert Atoms(graph).may_be_zero(result) == zero


def test_a_dead_channel_is_zero_and_the_others_are_not():
    conv = nn.Conv2d(4, 4, 3, bias=False)
    conv.weight.data[2] = 0
    atoms, result = atoms_of(lambda x, conv: conv(x), conv)
    np.testing.assert_array_equal(atoms.may_equal(result, np.zeros(4)), [False, False, True, False])


def test_ranges():
    for function, low, high in (
        (F.relu, 0, np.inf),
        (lambda x: -F.relu6(x), -6, 0),
        (lambda x: F.leaky_relu(x.clamp(-2, 3), 0.5), -1, 3),
        (lambda x: torch.sign(F.relu(x)), 0, 1),
        (lambda x: F.avg_pool2d(F.relu(x) + 1, 3, 1, 1), 0, np.inf),
    ):
        atoms, result = atoms_of(function)
        fact = atoms.fact(result)
        assert (fact.low[0], fact.high[0]) == (low, high)


def test_the_image_has_black_pixels():
    assert atoms_of(lambda x: x * 2)[0].may_be_zero(atoms_of(lambda x: x * 2)[1])
