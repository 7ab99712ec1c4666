"""The arrays taken from a torch model compute what the model computes."""

import numpy as np
import pytest
import torch

pytest.importorskip("openvino", reason="the peer needs OpenVINO")

from benchmarks import openvino_peer, torch_weights
from bnn_compiler import zoo
from bnn_compiler.errors import ModelError


@pytest.mark.parametrize("network", ["birealnet18", "reactnet_a"])
def test_peer_agrees_with_torch(network: str) -> None:
    model = zoo.get(network)(width=0.5)
    x = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, x)
    arrays = getattr(torch_weights, network)(model)
    build = openvino_peer.birealnet if network == "birealnet18" else openvino_peer.reactnet
    with torch.inference_mode():
        expected = model(x).numpy()
    got = build(arrays, tuple(x.shape)).run(x.numpy())
    # A sum almost on a threshold may get the other sign, which moves every logit a little.
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95


def test_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match="BiRealNet"):
        torch_weights.birealnet18(torch.nn.Linear(1, 1))
