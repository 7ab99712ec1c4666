"""Everything is made where the images are: shown on "meta", which mixes with no other device."""

import numpy as np
import pytest
import torch

import bnn_compiler.search.network as networks
from bnn_compiler.search.hypernet import PruningNet
from bnn_compiler.search.network import FULL, INHERITED, Judges
from bnn_compiler.search.supernet import Supernet, by_scale, random_plans, sandwich
from bnn_compiler.search.train import distilled
from tests.search.small import FULL as PLAN
from tests.search.small import Net, space
from tests.search.test_network import task

META = torch.device("meta")
SMALL = {"a": 5, "b": 7}


def losses(kind):
    """An objective, and the model that it is of."""
    if kind == "sandwich":
        return sandwich(by_scale(PLAN), SMALL), Supernet(space())
    if kind in ("layer", "plan"):
        return random_plans(by_scale(PLAN)), PruningNet(space(), fed=kind)
    return distilled(Net(8, 8, 1)), Net(8, 8, 1)


@pytest.mark.parametrize("kind", ["sandwich", "layer", "plan", "distilled"])
def test_losses_and_gradients_are_where_the_images_are(kind):
    objective, model = losses(kind)
    model.to(META).train()
    images, labels = torch.randn(6, 1, 12, 12, device=META), torch.zeros(6, dtype=int, device=META)
    count = 0
    for loss in objective(model, images, labels, np.random.default_rng(0)):
        assert loss.device == META
        loss.backward()
        count += 1
    assert count == (4 if kind == "sandwich" else 1)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and p.grad.device == META for p in trained)


@pytest.mark.parametrize("kind", [Supernet, PruningNet])
def test_a_plans_network_is_where_the_weights_are(kind):
    network = kind(space()).to(META).network(SMALL)
    assert {t.device for t in network.state_dict().values()} == {META}
    assert network(torch.randn(2, 1, 12, 12, device=META)).device == META


def test_mixing_is_an_error():
    """So that the tests above can fail."""
    with pytest.raises((RuntimeError, NotImplementedError)):
        Supernet(space()).to(META)(torch.randn(2, 1, 12, 12), SMALL)


def test_judges_use_the_device_that_training_uses(tmp_path, monkeypatch):
    seen, real = [], networks.accuracy

    def accuracy(network, data):
        seen.append(network)
        return real(network, data)

    monkeypatch.setattr(networks, "accuracy", accuracy)
    moved = []
    monkeypatch.setattr(networks, "fastest", lambda home: moved.append(home) or home)
    judged = task(tmp_path)
    judged.train_supernet(lambda progress: None)
    plan = judged.space.full
    Judges(judged)(INHERITED)(plan, 0)
    Judges(judged)(FULL)(plan, 0)
    networks.training(judged, lambda stage: Fixed())([plan], [0], FULL)
    assert len(moved) == 3 and len(seen) == 2


class Fixed:
    def of(self, plans, seeds):
        return [0.5] * len(plans)
