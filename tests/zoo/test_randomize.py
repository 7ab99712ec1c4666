import pytest
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d, BinaryLinear, Sign

SHAPE = (1, 3, 32, 32)


def randomized(name, **options):
    model = zoo.get(name)(width=0.25)
    zoo.randomize(model, torch.empty(SHAPE), **options)
    return model


def signs(model, x):
    """What each sign gives for ``x``: a list of (input, output)."""
    found = []
    for module in model.modules():
        if isinstance(module, Sign):
            module.register_forward_hook(lambda m, args, out: found.append((args[0], out)))
    with torch.inference_mode():
        model(x)
    return found


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_no_layer_is_degenerate(name):
    found = signs(randomized(name), torch.randn(32, 3, 32, 32))
    assert len(found) >= 4
    for x, out in found:
        assert out.mean().abs() < 0.9
        channels = out.transpose(0, 1).flatten(1)
        assert (channels.mean(1).abs() == 1).float().mean() <= 0.05
        assert 0.1 < x.std() < 10


@pytest.mark.parametrize("name", ["birealnet18", "bop_net"])
def test_seed_decides_everything(name):
    first, again, other = (randomized(name, seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not any(torch.equal(first[k], other[k]) for k in first if k.endswith("weight"))


def test_eval_mode_and_the_norms_momentum():
    model = randomized("reactnet_a")
    assert not any(m.training for m in model.modules())
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_signed_draws_negative_and_zero_gains():
    gains = torch.cat(
        [
            m.weight
            for m in randomized("xnornet", signed=True).modules()
            if isinstance(m, nn.BatchNorm2d)
        ]
    )
    assert (gains < 0).any()
    assert (gains == 0).any()
    plain = randomized("xnornet")
    assert all((m.weight > 0).all() for m in plain.modules() if isinstance(m, nn.BatchNorm2d))


def test_weights_without_a_scale_are_exactly_one():
    model = randomized("bop_net")
    layers = [m for m in model.modules() if isinstance(m, BinaryConv2d | BinaryLinear)]
    assert len(layers) == 4
    assert all(torch.equal(m.weight.abs(), torch.ones_like(m.weight)) for m in layers)


def test_networks_without_a_bias_in_front_of_a_sign():
    model = nn.Sequential(Sign(), BinaryConv2d(3, 4, 3), Sign(), BinaryConv2d(4, 2, 1))
    zoo.randomize(model, torch.empty(SHAPE))
    assert model(torch.randn(SHAPE)).isfinite().all()


def test_the_example_is_left_alone():
    x = torch.randn(SHAPE)
    before = x.clone()
    zoo.randomize(zoo.xnornet(width=0.25), x)
    assert torch.equal(x, before)
