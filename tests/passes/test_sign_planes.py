import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.sign_planes import SignPlanes, sign_planes
from tests.network import Applied, after, image

CONV = nn.Conv2d(4, 4, 3)


def pool(x):
    """Not a function of one value: the importer does not see through it."""
    return F.max_pool2d(x, 2)


@pytest.mark.parametrize(
    ("function", "pad", "planes"),
    [
        (lambda x, conv: torch.sign(conv(x)), 0, SignPlanes((">=",), 0, 1, 0)),
        (lambda x, conv: torch.sign(pool(F.relu(conv(x)))), 0, SignPlanes((">",), 1, 2, -1)),
        (lambda x, conv: torch.sign(pool(F.relu(conv(x)))), 1, SignPlanes((">",), 1, 2, 1)),
        (
            lambda x, conv: torch.sign(pool(F.relu(conv(x)))),
            -1,
            SignPlanes((">=", ">"), 0, 2, -1),
        ),
        (lambda x, conv: torch.sign(pool(-F.relu(conv(x)))), 0, SignPlanes((">=",), -1, 2, 1)),
        (lambda x, conv: torch.sign(F.hardtanh(conv(x)) + 1 - 1), 0, SignPlanes((">=",), 0, 1, 0)),
        (lambda x, conv: torch.sign(x), 0, SignPlanes((">=", ">"), 0, 2, 0)),
        (
            lambda x, conv: torch.where(F.relu(x) > 0, 1.0, -1.0),
            0,
            SignPlanes((">",), 0, 1, 0),
        ),
    ],
)
def test_planes(function, pad, planes):
    graph = after(Applied(function, CONV), image(4))
    (sign,) = [v for v in graph.values.values() if "bnn.sign" in str(getattr(v, "op", ""))]
    assert sign_planes(Atoms(graph), sign.args[0], int(sign.attrs["zero"]), pad) == planes
