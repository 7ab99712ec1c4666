"""Larq Compute Engine computes what torch computes, mirrored paddings and all."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import larq_peer, torch_weights
from benchmarks.quicknet import QuickNet
from bnn_compiler import zoo
from bnn_compiler.zoo.bireal import BiRealNet

pytestmark = [
    pytest.mark.slow,  # TensorFlow starts for each kernel.
    pytest.mark.skipif(
        not (larq_peer.folder() / "ready").exists(), reason="its environment was not made yet"
    ),
]


@pytest.mark.parametrize("network", ["birealnet18", "quicknet"])
@pytest.mark.parametrize("indirect", [False, True])
def test_peer_agrees_with_torch(network: str, indirect: bool) -> None:
    model: nn.Module
    if network == "quicknet":
        model = QuickNet(num_classes=100, blocks=1)
    else:
        model = BiRealNet((1, 1, 1, 1), in_channels=3, num_classes=100, width=0.5)
    x = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, x)
    net = getattr(torch_weights, network)(model)
    peer = larq_peer.LarqPeer(net, tuple(x.shape), indirect=indirect)
    with torch.inference_mode():
        expected = model(x).numpy()
    got = peer.run(x.numpy())
    peer.close()
    # A sum almost on a threshold may get the other sign, which moves every logit a little.
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95
