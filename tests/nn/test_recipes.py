import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.errors import TrainingError
from bnn_compiler.nn import Bop, Parameters, distribution_loss, real_weights, recipes


def small():
    torch.manual_seed(0)
    return zoo.bop_net(num_classes=4, width=0.05, in_channels=1, size=8)


def batches(count):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(count, 16, 1, 8, 8, generator=g)
    return [(b, (b.mean((1, 2, 3)) > 0).long()) for b in x]


def trained(model, optimizers, data):
    for x, y in data:
        optimizers.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizers.step()


def test_reactnets_steps_differ_in_weight_decay_only():
    model = small()
    one, two = recipes.reactnet_step1(real_weights(model), 4), recipes.reactnet_step2(model, 4)
    assert max(g["weight_decay"] for g in one.optimizers[0].param_groups) == 1e-5
    assert max(g["weight_decay"] for g in two.optimizers[0].param_groups) == 0
    for each in (one, two):
        assert {g["lr"] for g in each.optimizers[0].param_groups} == {1.25e-3}


def test_adams_rate_falls_to_zero():
    recipe = recipes.adam(small(), 4, lr=0.1)
    rates = []
    for _ in range(5):
        rates.append(recipe.optimizers[0].param_groups[0]["lr"])
        recipe.step()
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.0])


def test_bop_on_cifar10_decays_gamma_in_steps_and_keeps_the_threshold():
    recipe = recipes.bop_cifar10(small(), steps_per_epoch=2)
    bop, adam = recipe.optimizers
    gammas = []
    for _ in range(500 * 2):
        gammas.append(bop.param_groups[0]["gamma"])
        recipe.schedulers[0].step()
        assert bop.param_groups[0]["threshold"] == 1e-8
    assert gammas == pytest.approx([1e-4 * 0.1 ** (i // 200) for i in range(1000)])
    assert {g["lr"] for g in adam.param_groups} == {1e-2}


def test_bop_on_imagenet_is_linear_in_both():
    recipe = recipes.bop_imagenet(small(), 4)
    bop, adam = recipe.optimizers
    seen = []
    for _ in range(5):
        seen.append((bop.param_groups[0]["gamma"], adam.param_groups[0]["lr"]))
        recipe.step()
    assert [s[0] for s in seen] == pytest.approx([1e-4 + (1e-6 - 1e-4) * i / 4 for i in range(5)])
    assert [s[1] for s in seen] == pytest.approx(
        [2.5e-3 + (5e-6 - 2.5e-3) * i / 4 for i in range(5)]
    )


def test_bop_has_the_binary_parameters_and_adam_the_rest():
    model = small()
    bop, adam = recipes.bop_cifar10(model).optimizers
    found = Parameters.of(model)
    assert isinstance(bop, Bop)
    assert [p for g in bop.param_groups for p in g["params"]] == found.binary
    assert {p for g in adam.param_groups for p in g["params"]} == {*found.weights, *found.rest}
    assert {g["weight_decay"] for g in adam.param_groups} == {0.0}
    with pytest.raises(TrainingError, match="no binary parameters"):
        recipes.bop_cifar10(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "recipe",
    [
        lambda m: recipes.adam(m, 40, lr=1e-2),
        lambda m: recipes.bop_imagenet(m, 40),
        recipes.bop_cifar10,
    ],
)
def test_a_resumed_run_is_the_unbroken_one(recipe):
    data = batches(12)
    whole = small()
    trained(whole, recipe(whole), data)
    first = small()
    optimizers = recipe(first)
    trained(first, optimizers, data[:5])
    state = (first.state_dict(), optimizers.state_dict())
    second = small()
    resumed = recipe(second)
    second.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    trained(second, resumed, data[5:])
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_a_state_of_another_recipe_is_refused():
    model = small()
    state = recipes.bop_cifar10(model).state_dict()
    with pytest.raises(TrainingError, match="2 optimizers for 1"):
        recipes.adam(model, 4).load_state_dict(state)


def test_reactnets_two_steps_learn_from_a_teacher():
    """Both steps lower the distributional loss; step 2 starts from step 1's weights."""
    teacher, data = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).requires_grad_(False), batches(30)
    torch.nn.init.normal_(teacher[1].weight)
    student = small()

    def loss(model):
        return distribution_loss(model.eval()(data[0][0]), teacher(data[0][0])).item()

    def run(model, recipe):
        model.train()
        for x, _ in data:
            recipe.zero_grad()
            distribution_loss(model(x), teacher(x)).backward()
            recipe.step()

    step1 = real_weights(student)
    before = loss(step1)
    run(step1, recipes.reactnet_step1(step1, 30))
    assert loss(step1) < before
    step2 = small()
    step2.load_state_dict(step1.state_dict())
    before = loss(step2)
    run(step2, recipes.reactnet_step2(step2, 30))
    assert loss(step2) < before


def test_a_scaler_steps_every_optimizer():
    model = small()
    recipe = recipes.bop_imagenet(model, 4)
    scaler = torch.amp.GradScaler("cpu")
    before = {n: p.clone() for n, p in model.named_parameters()}
    x, y = batches(1)[0]
    for _ in range(3):
        recipe.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        recipe.step(scaler)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert {"stem.0.weight", "body.1.weight", "head.weight"} <= changed
    assert set(model.head.weight.unique().tolist()) == {-1.0, 1.0}
