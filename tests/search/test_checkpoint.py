"""Killed at any point and resumed, a search ends with the result of an unbroken run."""

import dataclasses
import json
import multiprocessing
import os
import random
import signal

import pytest

from bnn_compiler import files
from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Here, Lost
from bnn_compiler.search.checkpoint import Checkpoint, Measured, State, Trained
from bnn_compiler.search.evolution import Evolution, Settings
from bnn_compiler.search.pareto import Pareto
from bnn_compiler.search.run import Ending, Parts, search
from tests.search import toy

TIME = toy.seconds(toy.FULL)
SETTINGS = Settings.of(8, 3)
#: Costs that all runs remember.
PRICES = toy.prices(0.4 * TIME, 0.9 * toy.size(toy.FULL))


def measure(plan):
    """Slower than predicted, so that the model is corrected."""
    return 1.2 * toy.seconds(plan)


def train(plans, seeds, stage):
    return [
        Trained(dict(p), stage, s, toy.accuracy(p, s), toy.accuracy(p, s + 1))
        for p, s in zip(plans, seeds, strict=True)
    ]


def choose(plans, keep, train):
    found = train(plans, [5] * len(plans), "halving 1")
    return [t.plan for t in sorted(found, key=lambda t: -t.validation)]


def run(folder, event, kind=Evolution, resume=True):
    """The whole search; ``event`` is called at every point at which it may die."""

    def noted(function):
        def call(*args):
            event()
            return function(*args)

        return call

    real = files.replace_bytes

    def replace_bytes(path, data):
        event()
        real(path.with_name("half"), data[: len(data) // 2])
        real(path, data)
        event()

    files.replace_bytes = replace_bytes
    try:
        return search(
            PRICES,
            Parts(
                kind(SETTINGS, 3),
                Here(noted(toy.clumsy)),
                noted(measure),
                choose,
                noted(train),
            ),
            SETTINGS,
            3,
            checkpoint=Checkpoint(folder, {"seed": 3}),
            resume=resume,
            ending=Ending(finalists=4, again=2, seeds=2),
        )
    finally:
        files.replace_bytes = real


def dying(folder, after, kind):
    left = after

    def event():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    run(folder, event, kind)


def comparable(folder, result):
    """All but what the clock decides."""
    saved = json.loads((folder / "search.json").read_text())
    del saved["spent"]
    return saved, result.winner, result.searched, result.uniform, result.trained


@pytest.mark.parametrize("kind", [Evolution, Pareto])
def test_twenty_random_kills(kind, tmp_path):
    count = 0

    def event():
        nonlocal count
        count += 1

    whole = comparable(tmp_path / "whole", run(tmp_path / "whole", event, kind))
    # Candidates, measurements, trainings, and before and after each write.
    assert count > 60 and (kind is Pareto or whole[0]["corrections"])
    points = random.Random(0).sample(range(1, count + 1), 20)
    for after in sorted(points):
        folder = tmp_path / str(after)
        process = multiprocessing.get_context("fork").Process(
            target=dying, args=(folder, after, kind)
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, after
        assert comparable(folder, run(folder, lambda: None, kind)) == whole, after


def test_killed_again_and_again(tmp_path):
    whole = comparable(tmp_path / "whole", run(tmp_path / "whole", lambda: None))
    chance = random.Random(1)
    for _ in range(60):
        process = multiprocessing.get_context("fork").Process(
            target=dying, args=(tmp_path / "broken", chance.randint(9, 30), Evolution)
        )
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0
    assert comparable(tmp_path / "broken", run(tmp_path / "broken", lambda: None)) == whole


def test_what_is_finished_is_not_done_again(tmp_path):
    run(tmp_path, lambda: None)
    count = 0

    def event():
        nonlocal count
        count += 1

    run(tmp_path, event)
    assert count == 0


def state():
    found = State(corrections=[1.1], spent=[0.5])
    found.history.add([{"a": 1}, {"a": 2}], [0.1 + 0.2, Lost("out of memory")])
    found.measured.append(Measured({"a": 1}, 1e-3, None))
    found.trained.append(Trained({"a": 1}, "full", 3, 0.7))
    return found


def test_a_state_comes_back_exactly(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new/folder", {"budget": ("1ms", "2MB")})
    checkpoint.save(state())
    found = checkpoint.load(resume=True)
    assert dataclasses.asdict(found) == dataclasses.asdict(state())
    assert found.factor == 1.1
    assert found.inherited_of({"a": 1}) == 0.1 + 0.2
    assert found.inherited_of({"a": 2}) is None
    assert found.measured_of({"a": 1}).ratio is None


def test_another_search_is_refused(tmp_path):
    Checkpoint(tmp_path, {"seed": 0, "budget": "1ms"}).save(state())
    with pytest.raises(SearchError, match=r"--resume goes on with it, another -o starts anew"):
        Checkpoint(tmp_path, {"seed": 0, "budget": "1ms"}).load(resume=False)
    with pytest.raises(SearchError, match="budget was '1ms' and is '2ms'; give the same"):
        Checkpoint(tmp_path, {"seed": 0, "budget": "2ms"}).load(resume=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', "\x00"])
def test_another_file_is_refused(text, tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.path.write_text(text)
    with pytest.raises(SearchError, match="is not a search's checkpoint"):
        checkpoint.load(resume=True)


def test_another_version_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save(State())
    checkpoint.path.write_text(checkpoint.path.read_text().replace('"version": 1', '"version": 0'))
    with pytest.raises(SearchError, match="of another version"):
        checkpoint.load(resume=True)
