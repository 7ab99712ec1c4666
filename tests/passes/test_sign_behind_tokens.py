import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.passes.sign_behind_tokens import SignBehindTokens
from tests.network import Applied, after, anchors, computed, image, names


def layer(scale=1.0, read=False):
    weights = torch.where(torch.randn(7, 5) > 0, 1.0, -1.0)

    def of(x, *_):
        signs = torch.where(x >= 0, 1.0, -1.0).to(x.dtype) * scale
        y = F.linear(signs.flatten(2).transpose(1, 2), weights.to(x.dtype))
        return (y, signs) if read else y

    return Applied(of, nn.Identity())


def test_rows_are_made_before_their_signs():
    graph = after(layer(), image(5), SignBehindTokens())
    assert names(graph)[:3] == ["permute_dims", "bnn.tokens", "bnn.sign"]


def test_scaled_signs_of_an_image_become_a_binary_layer_of_tokens():
    for scale in (1.0, 0.5):
        graph, found, wanted = computed(layer(scale), image(5, batch=2))
        assert len(anchors(graph, "conv2d")) == 1
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_sign_that_others_read_keeps_its_name():
    graph = after(layer(read=True), image(5), SignBehindTokens())
    named = [v.name for v in graph.values if "sign" in v.name]
    assert len(named) == 2
    assert sum(n.endswith("__rows") for n in named) == 1


def test_must_not_fire_on_anything_else():
    model = Applied(lambda x: F.relu(x).flatten(2).transpose(1, 2) @ torch.ones(5, 3))
    graph = after(model, image(5), SignBehindTokens())
    assert names(graph)[:3] == ["permute_dims", "clip", "bnn.tokens"]
