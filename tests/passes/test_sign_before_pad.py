import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.passes.sign_before_pad import SignBeforePad
from tests.network import Applied, after, image, names


def pads(graph):
    return [
        float(v.attrs.pad_value)
        for v in graph.values.values()
        if "nn.pad" in str(getattr(v, "op", ""))
    ]


@pytest.mark.parametrize(
    ("value", "sign", "around"),
    [
        (0.0, torch.sign, 0.0),
        (0.5, torch.sign, 1.0),
        (-2.0, torch.sign, -1.0),
        (0.0, lambda x: torch.where(x >= 0, 1.0, -1.0), 1.0),
        (0.0, lambda x: torch.where(x > 0, 1.0, -1.0), -1.0),
        (0.0, lambda x: torch.where(x <= 0, -1.0, 1.0), -1.0),
        (0.0, lambda x: 2 * (x >= 0).float() - 1, 1.0),
    ],
)
def test_the_signs_are_padded_with_the_sign_of_the_padding(value, sign, around):
    model = Applied(lambda x: sign(F.pad(x, (1, 2, 0, 1), value=value)))
    graph = after(model, image(4), SignBeforePad())
    assert names(graph) == ["permute_dims", "bnn.sign", "nn.pad", "permute_dims"]
    assert pads(graph) == [around]


def test_pads_in_a_row_keep_their_order():
    model = Applied(lambda x: torch.sign(F.pad(F.pad(x, (1, 1), value=-3.0), (2, 2))))
    graph = after(model, image(4), SignBeforePad())
    assert pads(graph) == [-1.0, 0.0]


def test_must_not_fire_where_something_stands_between():
    model = Applied(lambda x, act: torch.sign(act(F.pad(x, (1, 1)))), nn.PReLU(4))
    graph = after(model, image(4), SignBeforePad())
    assert names(graph)[1:4] == ["nn.pad", "nn.prelu", "bnn.sign"]
