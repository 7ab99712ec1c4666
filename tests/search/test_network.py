import pickle

import numpy as np
import pytest
import torch

from bnn_compiler.errors import SearchError
from bnn_compiler.search.checkpoint import Trained
from bnn_compiler.search.costs import counted
from bnn_compiler.search.network import Judges, Task, choose, epochs_of
from bnn_compiler.search.plans import seed_of
from bnn_compiler.search.train import Settings

RECIPE = Settings(epochs=1, batch=50)


def task(folder, **changes):
    given = {
        "model": "tests.search.digits:network",
        "shape": (1, 1, 32, 32),
        "source": "tests.search.digits:few",
        "folder": folder,
        "recipe": RECIPE,
        "supernet_epochs": 1,
    }
    return Task(**{**given, **changes})


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    return task(tmp_path_factory.mktemp("grouped"), groups=(1, 2, 4))


def test_groups_and_channels_are_chosen_together(grouped):
    domain = grouped.domain
    values = dict(zip(domain.names, domain.values, strict=True))
    # The stem has one input and its channels must be divided by what reads them.
    assert list(values["stem"]) == [4, 8, 12, 16]
    assert values["block.spatial.1.groups"] == (4, 2, 1)
    assert "stem.groups" not in values
    rng = np.random.default_rng(0)
    plans = [grouped.draw(rng) for _ in range(8)]
    assert len({p["block.spatial.1.groups"] for p in plans}) > 1
    for plan in plans:
        assert grouped.space.crop(plan)(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_groups_cost_less_arithmetic(grouped):
    costs = counted("BOPs", grouped.space)
    name = "block.spatial.1.groups"
    one, four = costs.of([{name: 1}, {name: 4}])
    assert one > four > 0


def test_a_supernet_judges_group_plans(grouped):
    told = []
    grouped.train_supernet(lambda p: told.append((p.step, p.steps)))
    assert told[-1][0] == told[-1][1]
    judge = grouped.inherited()
    plan = grouped.draw(np.random.default_rng(3))
    assert judge(plan, 0) == judge(plan, 1)
    assert 0 <= judge(plan, 0) <= 1


def test_weights_of_a_full_training_are_kept(grouped):
    plan, seed = grouped.draw(np.random.default_rng(4)), 11
    score = Judges(grouped)("full")(plan, seed)
    kept = grouped.trained_network(plan, seed)
    with torch.no_grad():
        images, labels = grouped.splits.choose[:]
        again = (kept(images).argmax(1) == labels).float().mean()
    assert float(again) == pytest.approx(score, abs=1e-6)
    assert not grouped.weights_path(plan, seed + 1).exists()


def test_a_task_travels_without_what_was_made_of_it(grouped):
    _ = grouped.space, grouped.splits
    there = pickle.loads(pickle.dumps(grouped))
    assert there == grouped and "space" not in vars(there)
    assert len(pickle.dumps(grouped)) < 2000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": "borrowed"}, "known: shared, generated"),
        ({"shape": (1, 1, 32, 28)}, "square images"),
        ({"shape": (1, 32)}, "square images"),
    ],
)
def test_other_settings_are_refused(wrong, message, tmp_path):
    with pytest.raises(SearchError, match=message):
        task(tmp_path, **wrong)


def test_epochs_of_stages():
    assert [epochs_of(s, 64) for s in ("halving 1", "halving 2", "full")] == [8, 16, 64]
    assert [epochs_of(s, 4) for s in ("halving 1", "halving 2", "full")] == [1, 2, 4]
    assert epochs_of("halving 2", 1) == 1


def test_finalists_are_halved_and_uniform_stays():
    plans = [{"a": a} for a in (5, 6, 7, 8, 1)]
    calls = []

    def train(plans, seeds, stage):
        calls.append((stage, list(plans)))
        assert list(seeds) == [seed_of(3, p) for p in plans]
        return [Trained(dict(p), stage, s, p["a"] / 10) for p, s in zip(plans, seeds, strict=True)]

    ranked = choose(plans, {"a": 1}, train, seed=3)
    assert [name for name, _ in calls] == ["halving 1", "halving 2"]
    assert len(calls[0][1]) == 5 and {"a": 1} in calls[1][1] and len(calls[1][1]) == 4
    assert ranked[0] == {"a": 8} and ranked[-1] == {"a": 1}
