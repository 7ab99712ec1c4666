import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.passes.fold_ramps import FoldRamps
from tests.network import Applied, after, assert_agrees, image, names

CONV, RIGHT, LEFT = nn.Conv2d(4, 4, 3), torch.rand(1, 4, 1, 1) + 0.2, torch.rand(1, 4, 1, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: RIGHT * F.relu(x) - LEFT * F.relu(-x),
        lambda x: RIGHT * F.relu(x) + LEFT * F.relu(-x) + 0.5,
        lambda x: F.relu(-2 * x) * -LEFT + F.relu(x / 2),
        lambda x: F.relu(x) - F.relu(-x),
    ],
)
def test_a_relu_of_either_side_is_one_prelu(function):
    model = Applied(lambda x, conv: function(conv(x)), CONV)
    found = names(after(model, image(4), FoldRamps()))
    assert "nn.prelu" in found and "add" not in found and "clip" not in found
    assert_agrees(model, image(4))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.relu(x) - F.relu(1 - x),
        lambda x: F.relu(x) + F.relu(2 * x),
        lambda x: F.relu6(x) - F.relu(-x),
        lambda x: F.relu(x) - F.relu(-x.flip(1)),
        lambda x: F.relu(x) * torch.tensor(np.float32([0, 1, 1, 1])).view(4, 1, 1) - F.relu(-x),
    ],
)
def test_must_not_fire(function):
    model = Applied(lambda x, conv: function(conv(x)), CONV)
    assert "nn.prelu" not in names(after(model, image(4), FoldRamps()))
    assert_agrees(model, image(4))
