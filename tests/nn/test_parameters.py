import pytest
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.errors import ModelError
from bnn_compiler.nn import BinaryConv2d, Parameters, real_weights


def names(model, parameters):
    known = {p: n for n, p in model.named_parameters()}
    return {known[p] for p in parameters}


def test_every_parameter_is_in_one_list():
    model = zoo.reactnet_b(num_classes=4, width=0.125)
    found = Parameters.of(model)
    listed = [*found.binary, *found.weights, *found.rest]
    assert len(listed) == len(set(listed)) == len(list(model.parameters()))
    binary = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, BinaryConv2d)}
    assert names(model, found.binary) == binary
    real = {f"{n}.weight" for n, m in model.named_modules() if type(m) in (nn.Conv2d, nn.Linear)}
    assert names(model, found.weights) == real


def test_binary_parameters_and_the_rest_never_decay():
    model = zoo.bop_net(num_classes=4, width=0.125)
    found = Parameters.of(model)
    decay = {p: g["weight_decay"] for g in found.groups(0.5) for p in g["params"]}
    assert {decay[p] for p in found.binary} == {0.0} == {decay[p] for p in found.rest}
    assert {decay[p] for p in found.weights} == {0.5}
    assert set(decay) == set(model.parameters())
    optimized = {p for g in found.real_groups(0.5) for p in g["params"]}
    assert optimized == set(model.parameters()) - set(found.binary)


def test_the_real_weights_of_step_one_decay():
    model = real_weights(zoo.bop_net(num_classes=4, width=0.125))
    assert not Parameters.of(model).binary
    assert model.head.weight in set(Parameters.of(model).weights)


def test_frozen_and_shared_parameters():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    found = Parameters.of(model)
    assert [len(found.binary), len(found.weights), len(found.rest)] == [0, 1, 1]


def test_a_users_own_binary_parameters_are_named():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    found = Parameters.of(model, binary=["0.weight"])
    assert names(model, found.binary) == {"0.weight"}
    assert not found.weights
    with pytest.raises(ModelError, match=r"'1.slope'"):
        Parameters.of(model, binary=["1.slope"])


def test_groups_suit_an_optimizer():
    model = zoo.bop_net(num_classes=4, width=0.125)
    optimizer = torch.optim.AdamW(Parameters.of(model).groups(1e-2), lr=0.0)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 1e-2, 0.0]
