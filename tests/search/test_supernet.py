import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bnn_compiler
from bnn_compiler.errors import TrainingError
from bnn_compiler.search.data import Tensors
from bnn_compiler.search.recalibrate import Inherited
from bnn_compiler.search.supernet import SCALES, Supernet, by_scale, pool, random_plans, sandwich
from bnn_compiler.search.train import Settings, fit
from tests.search.small import FULL, quadrants, space

SMALLEST = {"a": 4, "b": 6}
GROUPS = {"conv2.groups": [1, 2, 6]}


def divides(plan):
    return plan["b"] % plan["conv2.groups"] == 0


def test_a_plans_outputs_are_its_networks():
    net = Supernet(space()).eval()
    x = torch.randn(3, 1, 12, 12)
    for plan in ({"a": 5, "b": 7}, {"conv2.groups": 8}, FULL):
        torch.testing.assert_close(net(x, plan), net.network(plan)(x))
    torch.testing.assert_close(net(x), net(x, FULL))


def test_a_plan_sees_what_the_full_network_learned():
    net = Supernet(space()).eval()
    x = torch.randn(3, 1, 12, 12)
    before = net(x, {"a": 5})
    with torch.no_grad():
        net.model.fc.weight.mul_(2)
        net.model.fc.bias.mul_(2)
    torch.testing.assert_close(net(x, {"a": 5}), 2 * before)


def test_draws_are_metaprunings_scales():
    draw = by_scale({**FULL, "batch": 8}, choices=GROUPS, legal=divides)
    rng = np.random.default_rng(0)
    plans = [draw(rng) for _ in range(400)]
    assert {p["a"] for p in plans} == {max(1, int(16 * s)) for s in SCALES}
    assert {p["conv2.groups"] for p in plans} == {1, 2, 6}
    assert all(divides(p) for p in plans)
    assert by_scale(FULL)(rng).keys() == {"a", "b"}
    assert plans == [draw(r) for r in [np.random.default_rng(0)] for _ in range(400)]
    with pytest.raises(TrainingError, match="none of 1000 random plans"):
        by_scale(FULL, legal=lambda plan: False)(rng)


def test_a_pool_gives_its_plans_again_and_their_crops_are_made_once():
    counted = []

    class Counting:
        def __init__(self):
            self.inner = space()
            self.model, self.full = self.inner.model, self.inner.full

        def crop(self, plan):
            counted.append(plan)
            return self.inner.crop(plan)

    draw, rng = pool(by_scale(FULL), 5, seed=3), np.random.default_rng(1)
    net = Supernet(Counting(), remember=5)
    counted.clear()
    plans = [draw(rng) for _ in range(40)]
    for plan in plans:
        net(torch.randn(2, 1, 12, 12), plan)
    assert len({tuple(p.items()) for p in plans}) == len(counted) == 5
    again = pool(by_scale(FULL), 5, seed=3)
    assert again(np.random.default_rng(1)) == plans[0]


def test_the_sandwich_is_the_full_network_the_smallest_and_random_ones():
    asked = []

    class Spy(Supernet):
        def forward(self, x, plan=None):
            asked.append(plan)
            return super().forward(x, plan)

    net = Spy(space()).train()
    x, y = quadrants(8)
    drawn = iter([{"a": 8}, {"b": 9}])
    rule = sandwich(lambda rng: next(drawn), SMALLEST, random=2, distil=True)
    losses = list(rule(net, x, y, np.random.default_rng(0)))
    assert asked == [None, SMALLEST, {"a": 8}, {"b": 9}]
    full = net.model(x)
    torch.testing.assert_close(losses[0], F.cross_entropy(full, y))
    wanted = -(full.softmax(1) * Supernet.forward(net, x, SMALLEST).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses[1], wanted)
    losses[1].backward()
    # Only the smallest network's part learns from it, and the full network's outputs do not.
    touched = net.model.conv1.weight.grad.abs().sum((2, 3)) > 0
    assert touched[:6, :4].any()
    assert not touched[6:].any()
    assert not touched[:, 4:].any()


def test_without_distillation_labels_are_learned():
    net = Supernet(space()).train()
    x, y = quadrants(8)
    rule = sandwich(lambda rng: {}, SMALLEST, random=0, distil=False)
    _, small = rule(net, x, y, np.random.default_rng(0))
    torch.testing.assert_close(small, F.cross_entropy(net(x, SMALLEST), y))


@pytest.fixture(scope="module")
def trained():
    """A supernet of channels and groups, trained for a moment."""
    net = Supernet(space())
    images, labels = quadrants(600)
    draw = by_scale(FULL, choices={**GROUPS, "a": range(4, 17), "b": range(6, 25)}, legal=divides)
    rule = sandwich(draw, SMALLEST, random=1)
    fit(net, Tensors(images, labels), Settings(epochs=6, batch=50, lr=1e-2), objective=rule)
    return net


def test_every_part_of_a_trained_supernet_works(trained):
    data = Tensors(*quadrants(400, seed=1))
    judge = Inherited(trained, Tensors(*quadrants(300, seed=2)), data)
    for plan in ({}, {"a": 4, "b": 6}, {"a": 9}, {"conv2.groups": 6}, {"a": 7, "conv2.groups": 2}):
        assert judge(plan) > 0.8, plan


def test_accuracy_does_not_depend_on_order_or_seed(trained):
    data = Tensors(*quadrants(200, seed=1))
    judge = Inherited(trained, data, data, batch=64)
    plans = [{"a": 6}, {"a": 11, "conv2.groups": 2}, {"b": 8}]
    first = [judge(p, s) for s, p in enumerate(plans)]
    trained.train()
    trained(data.images[:50], plans[0])
    assert [judge(p, 7) for p in reversed(plans)] == first[::-1]


def test_groups_train_with_random_plans():
    net = Supernet(space())
    rule = random_plans(by_scale(FULL, choices={**GROUPS, "a": [16], "b": [24]}))
    fit(net, Tensors(*quadrants(600)), Settings(epochs=4, batch=50, lr=1e-2), objective=rule)
    data = Tensors(*quadrants(300, seed=1))
    judge = Inherited(net, data, data)
    assert min(judge({"conv2.groups": g}) for g in (1, 2, 6)) > 0.8


def test_a_plans_network_compiles(trained, tmp_path):
    network = trained.network({"a": 7, "b": 18, "conv2.groups": 3})
    x = quadrants(1)[0]
    net = bnn_compiler.compile(network, (x,), target="native", output=tmp_path / "net.bnn")
    assert bnn_compiler.verify(net, network, [x]).ok
