import json

import numpy as np
import pytest

from bnn_compiler.latency.features import KINDS
from bnn_compiler.latency.spread import FACTS, Spread, disagreement

RNG = np.random.default_rng(0)


def draw(count):
    """Networks whose time is 1.05 of the sum and 2 us a call, missed by 2 to 6 %, and by more where
    kernels of the first kind take much of it.
    """
    facts = np.stack(
        [
            RNG.uniform(1e-3, 2e-2, count),
            RNG.integers(10, 40, count).astype(float),
            np.full(count, 6e5),
            RNG.uniform(0, 1e6, count),
        ],
        axis=1,
    )
    unsure = RNG.uniform(0.01, 0.03, count)
    truth = 1.05 * facts[:, 0] + 2e-6 * facts[:, 1]
    shares = np.zeros((count, len(KINDS)))
    shares[:, 0] = RNG.uniform(0, 1, count)
    shares[:, 1] = 1 - shares[:, 0]
    missed = 2 * unsure + 0.05 * shares[:, 0]
    return facts, facts, unsure, shares, truth * np.exp(missed * RNG.standard_normal(count))


def fit(known, facts, unsure, shares, seconds, random=None):
    """Of programs that were drawn at random."""
    random = np.ones(len(seconds), bool) if random is None else random
    return Spread.fit(known, facts, unsure, shares, seconds, random)


def test_four_fifths_of_new_networks_lie_in_their_interval():
    found = fit(*draw(400))
    _, facts, unsure, shares, seconds = draw(2000)
    centre, factor = found.seconds(facts), found.factor(unsure, shares)
    held = (centre / factor <= seconds) & (seconds <= centre * factor)
    assert 0.75 < held.mean() < 0.85
    # And so do those of which one kind takes most, whichever it is.
    for kind in (0, 1):
        assert 0.7 < held[shares[:, kind] > 0.8].mean() < 0.9
    assert abs(np.median(centre / seconds) - 1) < 0.02
    wide = found.factor(np.array([0.01, 0.1]), shares[:1])
    assert 1 < wide[0] < wide[1]


def test_few_networks_only_scale_the_sum():
    found = fit(*draw(8))
    assert found.coefficients[0] == pytest.approx(1.05, abs=0.1)
    assert found.coefficients[1:] == (0.0, 0.0, 0.0)


def test_wrong_predictions_of_kernels_say_nothing_of_networks():
    known, _, unsure, shares, _ = draw(400)
    wrong = known.copy()
    wrong[:, 0] *= np.exp(0.3 * RNG.standard_normal(len(wrong)))
    found = fit(known, wrong, unsure, shares, 1.05 * known[:, 0] + 2e-6 * known[:, 1])
    assert found.coefficients[:2] == pytest.approx((1.05, 2e-6), rel=0.02)
    assert found.factor(unsure, shares).min() > 1.2


def test_no_network_takes_less_than_nothing():
    _, facts, unsure, shares, seconds = draw(200)
    # A call more makes these networks faster, which no call can.
    found = fit(facts, facts, unsure, shares, 1.2 * facts[:, 0] - 5e-6 * facts[:, 1])
    assert found.coefficients[1] == 0 and min(found.coefficients) >= 0
    assert found.seconds(np.array([[1e-6, 40.0, 100.0, 0.0]]))[0] > 0
    assert abs(np.median(found.seconds(facts) / seconds) - 1) < 0.2


def test_disagreement_does_not_depend_on_the_size_of_the_ensemble():
    for members in (2, 3, 4, 8):
        found = disagreement(np.exp(0.05 * RNG.standard_normal((20000, members))))
        assert found.mean() == pytest.approx(0.05, rel=0.02)
    assert not disagreement(np.ones((3, 1))).any()


def test_json_and_back():
    found = fit(*draw(30))
    assert Spread.from_dict(json.loads(json.dumps(found.as_dict())), len(KINDS)) == found
    with pytest.raises(ValueError, match=f"for {len(FACTS)} facts"):
        Spread.from_dict({**found.as_dict(), "coefficients": [1.0]}, len(KINDS))


def test_what_was_chosen_as_hard_does_not_widen_intervals():
    known, facts, unsure, shares, seconds = draw(800)
    random = np.arange(800) % 2 == 0
    hard = np.where(random, 0.0, RNG.choice([-0.3, 0.3], 800))
    found = fit(known, facts, unsure, shares, seconds * np.exp(hard), random)
    _, facts, unsure, shares, seconds = draw(2000)
    missed = np.abs(np.log(found.seconds(facts) / seconds))
    assert 0.75 < (missed <= np.log(found.factor(unsure, shares))).mean() < 0.87
