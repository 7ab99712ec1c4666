import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler.search.train as loop
from bnn_compiler.errors import TrainingError
from bnn_compiler.nn import distillation_loss, recipes
from bnn_compiler.search.data import Tensors
from bnn_compiler.search.deterministic import deterministic
from bnn_compiler.search.recalibrate import accuracy
from bnn_compiler.search.supernet import Supernet, by_scale, sandwich
from bnn_compiler.search.train import Settings, distilled, fit, labels_only
from tests.search.small import FULL, Net, quadrants, space

DATA = Tensors(*quadrants(240))
SETTINGS = Settings(epochs=3, batch=40, lr=1e-2, shift=1, flip=True, smoothing=0.1)


def net():
    torch.manual_seed(0)
    return Net(8, 8, 1)


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_it_learns():
    model, seen = net(), []
    fit(model, DATA, Settings(epochs=6, batch=40, lr=1e-2), progress=seen.append)
    assert accuracy(model, Tensors(*quadrants(200, seed=1))) > 0.9
    assert not model.training
    assert [p.step for p in seen] == list(range(1, 37))
    assert {(p.steps, p.epochs) for p in seen} == {(36, 6)}
    assert seen[-1].loss < seen[5].loss


def test_the_result_is_of_the_seed_and_leaves_torch_as_it_was():
    first, second, other = net(), net(), net()
    torch.manual_seed(1)
    fit(first, DATA, SETTINGS)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    fit(second, DATA, SETTINGS)
    fit(other, DATA, Settings(epochs=3, batch=40, lr=1e-2, seed=1))
    assert same(first, second)
    assert not same(first, other)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("step", [1, 6, 7, 13, 17])
@pytest.mark.parametrize("kind", ["adam", "bop", "supernet"])
def test_an_interrupted_run_ends_as_an_unbroken_one(kind, step, tmp_path):
    def model():
        return Supernet(space()) if kind == "supernet" else net()

    def run(model, **options):
        if kind == "bop":
            options["optimizers"] = recipes.bop_imagenet(model, 18)
        if kind == "supernet":
            options["objective"] = sandwich(by_scale(FULL), {"a": 4, "b": 6}, random=1)
        fit(model, DATA, SETTINGS, **options)

    def stop(progress):
        if progress.step == step:
            raise Interrupted

    whole, broken, resumed = model(), model(), model()
    run(whole)
    path = tmp_path / "run.pt"
    with pytest.raises(Interrupted):
        run(broken, checkpoint=path, progress=stop)
    seen = []
    run(resumed, checkpoint=path, progress=lambda p: seen.append(p.step))
    assert seen[0] == 1 + (step - 1) // 6 * 6
    assert same(whole, resumed)
    again = model()
    run(again, checkpoint=path, progress=lambda p: pytest.fail("it was done"))
    assert same(whole, again)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    fit(net(), DATA, Settings(epochs=1, batch=40), checkpoint=path)
    with pytest.raises(TrainingError, match=r"of another run: \{'epochs': 1\}"):
        fit(net(), DATA, Settings(epochs=2, batch=40), checkpoint=path)
    with pytest.raises(TrainingError, match="no checkpoint of this training"):
        fit(Net(4, 4, 1), DATA, Settings(epochs=1, batch=40), checkpoint=path)
    path.write_bytes(b"damaged")
    with pytest.raises(TrainingError, match="no checkpoint of this training"):
        fit(net(), DATA, Settings(epochs=1, batch=40), checkpoint=path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_that_says_where(value, tmp_path):
    images = DATA.images.clone()
    images[100] = value
    path, data = tmp_path / "run.pt", Tensors(images, DATA.labels)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
    with pytest.raises(TrainingError, match=r"epoch 1, step \d of 6: the loss is nan"):
        fit(plain, data, SETTINGS, checkpoint=path)
    # The signs of this network hide it from the loss.
    with pytest.raises(TrainingError, match=r"epoch 1: stem\.0\.weight is no longer finite"):
        fit(net(), data, SETTINGS, checkpoint=path)
    assert not path.exists()


def test_a_later_loss_that_is_not_finite_counts_too():
    def losses(model, images, labels, rng):
        yield F.cross_entropy(model(images), labels)
        yield F.cross_entropy(model(images), labels) * torch.inf

    with pytest.raises(TrainingError, match="the loss is inf"):
        fit(net(), DATA, SETTINGS, objective=losses)


def test_mixed_precision_trains_and_goes_on(tmp_path):
    """As on a GPU, with the CPU's scaler and bfloat16."""

    def run(model):
        optimizers = loop._adam(model, SETTINGS, 18)
        scaler = torch.amp.GradScaler("cpu", growth_interval=4)
        losses = labels_only(SETTINGS)
        return loop._Run(model, optimizers, scaler, losses, SETTINGS, torch.device("cpu"))

    seen, dtypes, whole, first, second = [], set(), net(), net(), net()
    whole.fc.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    all_of_it, some, rest = run(whole), run(first), run(second)
    torch.manual_seed(0)
    for epoch in range(2):
        with deterministic(epoch):
            all_of_it.epoch(epoch, DATA, seen.append, 0)
    assert dtypes == {torch.bfloat16}
    assert seen[-1].loss < seen[5].loss
    with deterministic(0):
        some.epoch(0, DATA, None, 0)
    some.save(tmp_path / "run.pt", 1)
    assert rest.resume(tmp_path / "run.pt") == 1
    assert rest.scaler.get_scale() == some.scaler.get_scale() > 65536
    with deterministic(1):
        rest.epoch(1, DATA, None, 0)
    assert same(whole, second)


@pytest.mark.parametrize(
    ("schedule", "wanted"), [("linear", [1, 0.75, 0.5, 0.25]), ("cosine", [1, 0.8536, 0.5, 0.1464])]
)
def test_schedules(schedule, wanted, monkeypatch):
    rates = []
    make = loop._adam

    def spy(*arguments):
        made = make(*arguments)
        made.optimizers[0].register_step_pre_hook(
            lambda optimizer, *rest: rates.append(optimizer.param_groups[0]["lr"])
        )
        return made

    monkeypatch.setattr(loop, "_adam", spy)
    fit(net(), DATA, Settings(epochs=2, batch=120, lr=0.5, schedule=schedule))
    assert rates == pytest.approx([0.5 * w for w in wanted], abs=1e-4)


def test_objectives_are_their_losses():
    model, teacher = net().eval(), Net(8, 8, 2)
    x, y = DATA.images[:20], DATA.labels[:20]
    (loss,) = labels_only(SETTINGS)(model, x, y, None)
    torch.testing.assert_close(loss, F.cross_entropy(model(x), y, label_smoothing=0.1))
    (loss,) = distilled(teacher, temperature=2.0, weight=0.7)(model, x, y, None)
    wanted = distillation_loss(model(x), teacher(x), y, temperature=2.0, weight=0.7)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert teacher.fc.weight.grad is None
    assert not teacher.training


def test_images_are_moved_and_mirrored_by_the_seed():
    import numpy as np

    images = torch.arange(36.0).view(1, 1, 6, 6)
    found = {
        tuple(loop._moved(images, SETTINGS, np.random.default_rng(s)).flatten().tolist())
        for s in range(200)
    }
    rolled = {
        tuple(torch.roll(images, (a, b), (2, 3)).flip([3] if f else []).flatten().tolist())
        for a in (-1, 0, 1)
        for b in (-1, 0, 1)
        for f in (0, 1)
    }
    assert found == rolled


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"batch": 1}, {"lr": 0.0}, {"schedule": "stairs"}]
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(TrainingError, match=str(next(iter(options.values())))):
        Settings(**{"epochs": 1, **options})


def test_too_few_images_are_refused():
    with pytest.raises(TrainingError, match="240 images are less than a batch of 500"):
        fit(net(), DATA, Settings(epochs=1, batch=500))


def test_a_dataset_that_is_not_in_memory_trains_the_same():
    class Slow:
        def __len__(self):
            return len(DATA)

        def __getitem__(self, index):
            return DATA[index]

    one, two = net(), net()
    fit(one, DATA, SETTINGS)
    fit(two, Slow(), SETTINGS)
    assert same(one, two)


def test_a_plain_module_trains_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
    fit(model, DATA, Settings(epochs=8, batch=40, lr=1e-2, weight_decay=1e-4))
    assert accuracy(model, DATA) > 0.9
