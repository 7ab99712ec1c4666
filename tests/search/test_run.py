import pytest

from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Here
from bnn_compiler.search.checkpoint import Checkpoint, Trained
from bnn_compiler.search.evolution import Evolution, Settings
from bnn_compiler.search.repair import uniform
from bnn_compiler.search.run import Ending, Parts, refuse_infeasible, search
from bnn_compiler.search.workers import Workers
from tests.search import judges, toy

TIME, BYTES = toy.seconds(toy.FULL), toy.size(toy.FULL)
SETTINGS = Settings.of(10, 4)


def run(folder, prices=None, judge=toy.accuracy, *, accuracy=None, ending=None, **parts):
    said, told = [], []
    result = search(
        prices or toy.prices(0.4 * TIME),
        Parts(Evolution(SETTINGS, 0), accuracy or Here(judge), **parts),
        SETTINGS,
        0,
        checkpoint=Checkpoint(folder, {}),
        ending=ending,
        tell=told.append,
        say=said.append,
    )
    return result, said, told


def train(plans, seeds, stage):
    return [
        Trained(dict(p), stage, s, toy.accuracy(p, s)) for p, s in zip(plans, seeds, strict=True)
    ]


def test_an_infeasible_budget_is_refused_before_anything_is_judged(tmp_path):
    def never(plan, seed):
        raise AssertionError("judged")

    pattern = r"budget 1e-06s cannot be met: the smallest plan .* takes 8.064 us; it is \{\"a\": 6"
    with pytest.raises(SearchError, match=pattern):
        run(tmp_path, toy.prices(1e-6), never)
    assert not list(tmp_path.iterdir())
    # The other of two budgets is the one that is named.
    with pytest.raises(SearchError, match=r"budget 10B cannot be met: .* takes 537 B"):
        refuse_infeasible(toy.prices(TIME, 10))
    refuse_infeasible(toy.prices(0.2 * TIME, BYTES))


def test_progress_is_told(tmp_path):
    _, _, told = run(tmp_path)
    assert [p.generation for p in told] == [0, 1, 2, 3, 4]
    assert [p.candidates for p in told] == [0, 10, 20, 30, 40]
    assert told[0].best is None and told[0].seconds_left is None
    best = [p.best for p in told[1:]]
    assert best == sorted(best) and all(0 < p.used <= 1 for p in told[1:])
    assert told[-1].seconds_left == 0


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path):
    def one(name, accuracy):
        result, _, _ = run(tmp_path / name, accuracy=accuracy)
        return [[c.as_dict() for c in g] for g in result.state.history.generations]

    expected = one("here", Here(judges.uneven("")))
    for count in (1, 2):
        with Workers(judges.uneven, count) as workers:
            assert one(str(count), workers.at("")) == expected


def test_a_slow_target_corrects_the_model(tmp_path):
    """Measured 8 % over: the search says so, and its winner keeps the budget."""
    result, said, told = run(
        tmp_path, measure=lambda p: 1.08 * toy.seconds(p), ending=Ending(finalists=4, again=2)
    )
    assert said[0].startswith("measured ") and "over the budget" in said[0]
    assert any("takes 1.080 of the predicted time" in line for line in said)
    assert result.state.corrections == [pytest.approx(1.08)]
    assert 1.08 * toy.seconds(result.winner) <= 0.4 * TIME
    assert 1.08 * toy.seconds(result.uniform) <= 0.4 * TIME
    assert told[-1].generation == 6


def test_a_fast_enough_target_ends_the_search(tmp_path):
    result, said, _ = run(tmp_path, measure=toy.seconds, ending=Ending(finalists=4))
    assert not result.state.corrections
    assert all("below the budget" in line for line in said)
    # The four finalists and the uniform plan, each once.
    assert len(said) == len(result.state.measured) <= 5


def test_a_few_slow_finalists_are_left_out(tmp_path):
    first, _, _ = run(tmp_path / "first", measure=toy.seconds, ending=Ending(finalists=5))
    slow = first.winner

    def measure(plan):
        return (1.5 if plan == slow else 1.0) * toy.seconds(plan)

    result, _, _ = run(tmp_path / "second", measure=measure, ending=Ending(finalists=5))
    assert not result.state.corrections and result.winner != slow


def test_a_target_that_never_keeps_up_says_by_how_much(tmp_path):
    slowness = iter(range(1, 10_000))

    def measure(plan):
        return (1 + 0.5 * next(slowness)) * 0.4 * TIME

    result, said, _ = run(tmp_path, measure=measure, ending=Ending(finalists=3, rounds=1, again=1))
    assert len(result.state.corrections) == 1
    assert "over the budget" in said[-1]
    assert result.state.measured_of(result.winner).seconds > 0.4 * TIME


def test_a_correction_that_makes_the_budget_infeasible_is_told(tmp_path):
    with pytest.raises(SearchError, match="cannot be met"):
        run(tmp_path, measure=lambda p: 20 * toy.seconds(p))


def test_all_lost_is_an_error(tmp_path):
    def fails(plan, seed):
        raise ValueError("no images")

    with pytest.raises(SearchError, match=r"all 10 candidates .* ValueError: no images"):
        run(tmp_path, judge=fails)


def test_the_winner_is_trained_and_uniform_can_win(tmp_path):
    result, _, _ = run(tmp_path / "a", train=train, ending=Ending(seeds=3))
    assert result.winner == result.searched != result.uniform
    assert len(result.trained) == 6 and len({t.seed for t in result.trained}) == 6

    def favours_uniform(plans, seeds, stage):
        scores = [1.0 if p == result.uniform else 0.1 for p in plans]
        return [Trained(dict(p), stage, s, v) for p, s, v in zip(plans, seeds, scores, strict=True)]

    again, _, _ = run(tmp_path / "b", train=favours_uniform)
    assert again.winner == again.uniform and again.searched == result.searched


def test_finalists_are_chosen_by_training_not_by_inheritance(tmp_path):
    def choose(plans, keep, train):
        assert keep in plans
        found = train(plans, [1] * len(plans), "halving 1")
        return [t.plan for t in sorted(found, key=lambda t: -t.validation)]

    def backwards(plans, seeds, stage):
        return [
            Trained(dict(p), stage, s, 1 - toy.accuracy(p, 0))
            for p, s in zip(plans, seeds, strict=True)
        ]

    result, _, _ = run(tmp_path, choose=choose, train=backwards, ending=Ending(finalists=5))
    ranked = [c.plan for c in result.state.history.ranked()]
    assert result.searched == min(ranked[:5], key=lambda p: toy.accuracy(p, 0))


def test_what_cannot_be_trained_is_an_error(tmp_path):
    def fails(plans, seeds, stage):
        return [
            Trained(dict(p), stage, s, None, lost="out of memory")
            for p, s in zip(plans, seeds, strict=True)
        ]

    with pytest.raises(SearchError, match="could not be trained: out of memory"):
        run(tmp_path, train=fails)


def test_times_are_measured_for_budgets_of_other_units_too(tmp_path):
    """Nothing is left out by them, and there is no model to correct."""
    result, said, _ = run(tmp_path, toy.prices(bytes_=0.3 * BYTES), measure=lambda p: 1e9)
    assert result.state.measured_of(result.winner).seconds == 1e9
    assert result.state.measured_of(result.uniform).predicted is None
    assert not result.state.corrections and set(said) == {"measured 1e+09 s"}


def test_a_fast_target_corrects_the_model_too(tmp_path):
    """Measured 20 % below: what is left of the budget is used, by uniform as by the search."""

    def measure(plan):
        return 0.8 * toy.seconds(plan)

    result, said, _ = run(tmp_path, measure=measure, ending=Ending(finalists=4, again=1))
    assert any("takes 0.800 of the predicted time" in line for line in said)
    assert result.state.corrections == [pytest.approx(0.8)]
    for plan in (result.winner, result.uniform):
        # More than a search could use that takes the predictions as they are.
        assert 0.8 * 0.4 * TIME < measure(plan) <= 0.4 * TIME


def test_the_uniform_plan_fills_the_budget_by_its_own_measurements(tmp_path):
    """The model is wrong about uniform plans alone, in either direction."""
    plain, _, _ = run(tmp_path / "plain", measure=toy.seconds, ending=Ending(finalists=2))
    for factor in (0.7, 1.3):

        def measure(plan, factor=factor):
            shares = [plan[n] / toy.FULL[n] for n in toy.FULL]
            alike = max(shares) - min(shares) < 0.3
            return (factor if alike else 1.0) * toy.seconds(plan)

        result, _, _ = run(
            tmp_path / str(factor), measure=measure, ending=Ending(finalists=2, rounds=0)
        )
        assert (result.uniform == plain.uniform) is False
        assert measure(result.uniform) <= 0.4 * TIME
        larger = factor < 1
        assert (toy.seconds(result.uniform) > toy.seconds(plain.uniform)) is larger


def test_a_uniform_plan_that_is_too_slow_cannot_win(tmp_path):
    def uniform_is_slow(plan):
        return (5.0 if alike(plan) else 0.99) * 0.4 * TIME

    def favours_uniform(plans, seeds, stage):
        scores = [1.0 if alike(p) else 0.1 for p in plans]
        return [Trained(dict(p), stage, s, v) for p, s, v in zip(plans, seeds, scores, strict=True)]

    prices = toy.prices(0.4 * TIME)
    (plain,) = prices.domain.plans(uniform(prices))

    def alike(plan):
        far = max(abs(plan[n] - plain[n]) / toy.FULL[n] for n in plan)
        smaller = all(plan[n] <= plain[n] for n in plan)
        return far == 0 or smaller

    result, _, _ = run(tmp_path, measure=uniform_is_slow, train=favours_uniform)
    assert result.winner == result.searched != result.uniform
    assert result.state.measured_of(result.uniform).seconds > 0.4 * TIME
