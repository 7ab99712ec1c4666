import numpy as np
import pytest

import bnn_compiler
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.search import costs
from bnn_compiler.search.plans import key


@pytest.fixture(scope="module")
def counted(small_artifact):
    """(the compiled network's manifest, its space)."""
    path, model, x = small_artifact
    return bnn_compiler.load(path).description, PlanSpace.of(model, (x,))


def of(unit, space, *plans):
    return costs.counted(unit, space).of(plans or [space.full])


def test_arithmetic_is_the_manifests(counted):
    manifest, space = counted
    binary = sum(s.macs for s in manifest.steps if s.binary)
    real = sum(s.macs for s in manifest.steps if not s.binary)
    assert of("BOPs", space).tolist() == [binary]
    assert of("FLOPs", space).tolist() == [real]
    assert of("OPs", space).tolist() == [real + binary / 64]
    assert binary > 0 and real > 0


def test_weights_are_most_of_the_manifests(counted):
    """The manifest's have tables of border classes and lie on whole cache lines too."""
    manifest, space = counted
    assert 0.7 * manifest.weights_bytes < of("B", space)[0] < manifest.weights_bytes


def test_fewer_channels_are_cheaper(counted):
    _, space = counted
    name, full = max(space.groups.items(), key=lambda item: item[1])
    plans = [{name: c} for c in (full, full * 3 // 4, full // 2)]
    for unit in ("BOPs", "OPs", "B"):
        values = of(unit, space, *plans)
        assert values.dtype == np.float64
        assert (np.diff(values) <= 0).all() and values[0] > values[-1], unit


def test_words_of_32_hold_weights(counted):
    """Within a word of inputs and a vector of outputs another channel is free."""
    _, space = counted
    name, full = max(space.groups.items(), key=lambda item: item[1])
    top = full // 32 * 32
    values = of("B", space, *({name: c} for c in (top, top - 15, top - 31)))
    assert values[0] == values[1] > values[2]


class Recorder:
    def __init__(self):
        self.asked = []

    def kernels(self, plan):
        self.asked.append(key(plan))
        return (3, 4)


def test_a_plan_is_counted_once():
    space = Recorder()
    found = costs.Counted("n", "B", space, float)
    plans = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 3, "b": 2}]
    assert found.of(plans).tolist() == [7.0, 7.0, 7.0]
    assert found.of(plans[:1]).tolist() == [7.0]
    assert len(space.asked) == 2


def test_seconds_are_the_models():
    class Found:
        seconds = np.array([1.0, 2.0])

    class Model:
        def predict(self, space, plans):
            assert (space, len(plans)) == ("space", 2)
            return Found

    assert costs.Seconds("space", Model()).of([{}, {}]).tolist() == [1.0, 2.0]
