import copy
import logging

import pytest
import torch
from torch import nn

from bnn_compiler.errors import ModelError
from bnn_compiler.network import Network
from tests.network import assert_agrees, image


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compiled_in_float32(dtype, caplog):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval().to(dtype)
    with caplog.at_level(logging.WARNING, "bnn_compiler"):
        network = Network.of(model, (image(3).to(dtype),))
    assert f"is {dtype}; it is compiled in float32" in caplog.text
    assert all(p.dtype == dtype for p in model.parameters())
    assert network.source_hash == Network.of(copy.deepcopy(model).float(), (image(3),)).source_hash


def test_float32_says_nothing(caplog):
    assert_agrees(nn.Conv2d(3, 4, 3), image(3))
    assert not caplog.records


def test_a_script_says_what_to_give_instead():
    with pytest.warns(DeprecationWarning):
        script = torch.jit.trace(nn.ReLU(), image(3))
    with pytest.raises(ModelError, match=r"give the nn\.Module it was made from"):
        Network.of(script, (image(3),))
