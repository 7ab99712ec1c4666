import math

import pytest

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.halving import halve, rank_correlation


class Table:
    """Accuracies by plan and seed; what was asked."""

    def __init__(self, values, noise=0.0):
        self.values, self.noise, self.asked = values, noise, []

    def of(self, plans, seeds):
        self.asked.append([(p["c"], s) for p, s in zip(plans, seeds, strict=True)])
        found = []
        for p, s in zip(plans, seeds, strict=True):
            value = self.values[p["c"]]
            found.append(value + self.noise * (s - 1) if isinstance(value, float) else value)
        return found


PLANS = [{"c": i} for i in range(8)]


def test_each_round_keeps_the_better_half():
    short = Table([0.1, 0.8, 0.3, 0.7, 0.5, 0.6, 0.2, 0.4])
    middle = Table([0, 0.5, 0, 0.9, 0.6, 0.7, 0, 0])
    long = Table([0, 0, 0, 0.6, 0, 0.8, 0, 0])
    rounds = halve(PLANS, [short, middle, long])
    assert [c for c, _ in short.asked[0]] == list(range(8))
    assert [c for c, _ in middle.asked[0]] == [1, 3, 5, 4]
    assert [c for c, _ in long.asked[0]] == [3, 5]
    assert rounds[-1].plans == ({"c": 5}, {"c": 3})
    assert rounds[-1].means == (0.8, 0.6)


def test_seeds_are_averaged():
    table = Table([0.5, 0.5], noise=0.1)
    (done,) = halve([{"c": 0}, {"c": 1}], [table], seeds=(0, 1, 5))
    assert table.asked == [[(0, 0), (0, 1), (0, 5), (1, 0), (1, 1), (1, 5)]]
    assert done.scores[0] == pytest.approx((0.4, 0.5, 0.9))
    assert done.means == pytest.approx((0.6, 0.6))
    assert done.plans == ({"c": 0}, {"c": 1})


def test_the_uniform_plan_stays_in_to_the_end():
    tables = [Table([i / 10 for i in range(9)]) for _ in range(3)]
    rounds = halve(PLANS, tables, always=[{"c": 0}])
    assert [len(r.plans) for r in rounds] == [8, 5, 4]
    assert all({"c": 0} in r.plans for r in rounds)
    assert rounds[-1].plans[0] == {"c": 7}


def test_a_lost_candidate_is_the_last_and_not_the_end():
    lost = object()
    rounds = halve(PLANS[:4], [Table([lost, 0.2, math.nan, 0.4])] * 2)
    assert rounds[0].plans == ({"c": 3}, {"c": 1}, {"c": 0}, {"c": 2})
    assert rounds[0].scores[2:] == ((None,), (None,))
    assert rounds[1].plans == ({"c": 3}, {"c": 1})
    with pytest.raises(TrainingError, match="every plan of round 1 is lost"):
        halve(PLANS[:2], [Table([lost, lost])])


def test_equal_plans_are_judged_once():
    table = Table([0.5, 0.4])
    halve([{"c": 0}, {"c": 1}, {"c": 0}], [table], always=[{"c": 1}])
    assert table.asked == [[(0, 0), (1, 0)]]


@pytest.mark.parametrize(
    "options", [{"plans": []}, {"judges": []}, {"seeds": ()}, {"keep": 1.0}, {"keep": 0.0}]
)
def test_nothing_to_judge_is_an_error(options):
    arguments = {"plans": PLANS, "judges": [Table([0.5] * 8)], **options}
    with pytest.raises(TrainingError, match="at least one of each"):
        halve(arguments.pop("plans"), arguments.pop("judges"), **arguments)


def test_rank_correlation_is_spearmans():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 25, 90]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # 1 - 6 sum d^2 / (n (n^2 - 1)) without ties; shared ranks with them.
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(1 - 6 * 4 / 120)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486832980505138)
    assert math.isnan(rank_correlation([1, 1], [1, 2]))
    with pytest.raises(TrainingError, match="ranks of 2 and 3"):
        rank_correlation([1, 2], [1, 2, 3])
