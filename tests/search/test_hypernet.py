import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.errors import TrainingError
from bnn_compiler.search.data import Tensors
from bnn_compiler.search.factory import Factory
from bnn_compiler.search.hypernet import Generator, PruningNet
from bnn_compiler.search.recalibrate import Inherited
from bnn_compiler.search.supernet import by_scale, random_plans
from bnn_compiler.search.train import Settings, fit
from tests.search.small import FULL, quadrants, space

LAYERS = {"stem.0.weight", "conv0.weight", "conv1.weight", "conv2.weight", "fc.weight"}


def test_a_generator_is_two_layers_with_a_relu():
    like = torch.randn(4, 3, 3, 3)
    made = Generator(2, 8, like)
    ratios = torch.tensor([0.5, 0.25])
    hidden = (made.first.weight @ ratios + made.first.bias).clamp(min=0)
    wanted = (made.second.weight @ hidden + made.second.bias).view(4, 3, 3, 3)
    torch.testing.assert_close(made(ratios), wanted)
    assert torch.equal(made.second.bias.view_as(like), like)


@pytest.mark.parametrize("fed", ["layer", "plan"])
def test_every_layers_weights_are_generated_and_cropped(fed):
    net = PruningNet(space(), hidden=4, fed=fed)
    assert {key.replace("/", ".") for key in net.generators} == LAYERS
    plan = {"a": 4, "b": 12}
    network = net.network(plan)
    seen = {
        "layer": {"stem.0.weight": [0.25, 1.0], "conv1.weight": [0.5, 0.25]},
        "plan": {name: [0.25, 0.5, 1.0] for name in ("stem.0.weight", "conv1.weight")},
    }[fed]
    for name, ratios in seen.items():
        full = net.generators[name.replace(".", "/")](torch.tensor(ratios))
        small = network.get_parameter(name)
        assert torch.equal(small, full[: small.shape[0], : small.shape[1]])
    assert torch.equal(network.act[1].weight, net.shared.act[1].weight[:12])


def test_weights_follow_the_plan_in_what_is_shared_too():
    net = PruningNet(space(), hidden=4)
    one, two = net.network({"a": 4}), net.network({"a": 8})
    assert not torch.equal(one.conv0.weight, two.conv0.weight[:4, :4])


def test_outputs_are_the_networks_and_gradients_reach_the_generators():
    net = PruningNet(space(), hidden=4).eval()
    x, plan = torch.randn(3, 1, 12, 12), {"a": 5, "b": 8, "conv2.groups": 4}
    torch.testing.assert_close(net(x, plan), net.network(plan)(x))
    torch.testing.assert_close(net(x), net(x, FULL))
    net.train()(x, plan).square().sum().backward()
    for key, made in net.generators.items():
        assert made.first.weight.grad.abs().sum() > 0, key
    trained = {n for n, p in net.named_parameters() if p.requires_grad}
    assert not trained & {f"shared.{n}" for n in LAYERS}


def test_it_learns_to_generate_any_plan():
    net = PruningNet(space(), hidden=8)
    rule = random_plans(by_scale(FULL), smoothing=0.0)
    fit(net, Tensors(*quadrants(600)), Settings(epochs=5, batch=50, lr=1e-2), objective=rule)
    data = Tensors(*quadrants(300, seed=1))
    judge = Inherited(net, data, data)
    plans = [{}, {"a": 8, "b": 12}, {"a": 5, "b": 20}]
    assert min(judge(p) for p in plans) > 0.8
    assert [judge(p) for p in plans[::-1]] == [judge(p) for p in plans][::-1]


def test_a_generated_network_compiles(tmp_path):
    network = PruningNet(space()).network({"a": 7, "b": 12, "conv2.groups": 3})
    x = quadrants(1)[0]
    net = bnn_compiler.compile(network, (x,), target="native", output=tmp_path / "net.bnn")
    assert bnn_compiler.verify(net, network, [x]).ok


def test_a_network_without_layers_is_refused():
    with pytest.raises(TrainingError, match="BatchNorm2d has no layer"):
        PruningNet(Factory(lambda plan: nn.BatchNorm2d(plan["c"]), {"c": 4}))
