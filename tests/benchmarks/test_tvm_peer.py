"""Plain TVM computes what torch computes."""

import numpy as np
import torch

from benchmarks.tvm_peer import TvmPeer
from bnn_compiler import zoo
from bnn_compiler.zoo.bireal import Block


def test_peer_agrees_with_torch() -> None:
    model = Block(32, 64, 2, False)
    x = torch.randn((1, 32, 8, 8), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, x)
    with torch.inference_mode():
        expected = model(x).numpy()
    np.testing.assert_allclose(TvmPeer(model, tuple(x.shape)).run(x.numpy()), expected, atol=1e-4)
