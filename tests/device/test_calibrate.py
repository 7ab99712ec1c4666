"""Calibrations of a board under qemu, connected and by a kit."""

import json
import os
import shutil
import subprocess

import pytest

from bnn_compiler import target as targets
from bnn_compiler.cli import main
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device.measure import Measurement, Outcome
from bnn_compiler.errors import DeviceError, InputError, ScheduleError
from bnn_compiler.latency import (
    LatencyModel,
    calibrate,
    kit,
    linked,
    making,
    model,
    places,
    regress,
)
from bnn_compiler.latency.journal import Journal
from tests.device.conftest import ARM
from tests.latency import tiny

DEVICE = targets.load(ARM)
GIVEN = {"templates": tiny.TEMPLATES, "prior": False}


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """Small programs, few trees, and files of its own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regress, "_ROUNDS", 10)
        patch.setattr(calibrate, "_CANDIDATES", 2)
        patch.setattr(calibrate, "LEAST", 4)
        patch.setattr(calibrate, "TURN", 2)
        patch.setattr(places, "REFERENCE", tiny.REFERENCE)
        patch.setattr(calibrate, "user_cache_path", lambda name: folder)
        patch.setattr(model, "user_cache_path", lambda name: folder)
        # An emulator's times are no good: none is disturbed.
        patch.setattr(calibrate, "_DISTURBED", 1e9)
        yield folder


def calibrated(address, **more):
    return calibrate.calibrate(ARM, minutes=60, programs_at_most=4, device=address, **GIVEN, **more)


def test_a_board_is_calibrated_and_goes_on(arm, qemu, serve, small):
    board = serve(arm, "arm", "--run-with", qemu, prefix=[qemu])
    states = []

    def tell(state):
        states.append(state)
        if state.programs == 2:
            raise KeyboardInterrupt

    address = f"rpc://127.0.0.1:{board.port}/arm"
    with pytest.raises(ScheduleError, match=r"2 of 2 programs .* needs 4"):
        calibrated(address, tell=tell)
    assert states[0].doing == "trying the reference program on the board"
    # The same command goes on, and the model is found from then on.
    found = calibrated(address)
    assert found.model.about.programs >= 3 and found.model.about.measured
    assert LatencyModel.load(ARM).about == found.model.about
    path = calibrate.journal_path(DEVICE, "board-arm")
    with Journal(path, DEVICE, found.model.about.cpu) as log:
        samples = list(log.samples)
    assert [s.network for s in samples] == ["tiny@6", "tiny@8"] * 2
    for sample in samples:
        # The steps of a run take most of it, even under an emulator.
        assert 0.2 * sample.seconds < sum(sample.steps) < 5 * sample.seconds
    # Times of one board are not another's.
    with Journal(path, DEVICE, "another board") as log:
        assert not log.samples and log.others == 4


class Machine:
    """Says what it is told to."""

    name, here = "device pi4 at lab:9190", False

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def measure(self, programs, plan, done):
        done(0, self.outcomes.pop(0))


def test_boards_that_cannot_be_calibrated_are_one_line(monkeypatch):
    monkeypatch.setattr(places, "reference_plan", lambda: None)
    maker = making.Maker(
        compiled=lambda plan, schedules, name: name,
        build=lambda *arguments: None,
        identity=lambda ahead, built: "id",
        steps=lambda built: 1,
    )
    monkeypatch.setattr(making, "of", lambda target: maker)

    def said(name, rounds):
        return Outcome(Measurement(name, (1.0, 2.0, 3.0) * rounds, "0"))

    def place(*outcomes):
        return places.There(Machine(*outcomes), Schedules.load(DEVICE, None))

    with pytest.raises(DeviceError, match="does not run the reference program: crashed: SIGILL"):
        place(Outcome(None, "crashed: SIGILL"))
    rounds, first = linked.ROUNDS, said("id A board", 2)
    (times,) = place(first, said("id A board", rounds)).in_turns(["x"])
    assert times.seconds(4.0) == 8.0 and times.of_steps(1.0).tolist() == [3.0]
    # What fails is left out; another board, program, or shape is an error.
    assert place(first, Outcome(None, "took too long")).in_turns(["x"]) == []
    for outcome, words in (
        (said("id Another", rounds), "one board is A board, another is Another"),
        (said("other A board", rounds), "measured another program"),
        (said("id A board", rounds + 1), "not what they measure"),
    ):
        with pytest.raises(DeviceError, match=words):
            place(first, outcome).in_turns(["x"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory, qemu, small):
    """A kit's folder, with its results."""
    folder = tmp_path_factory.mktemp("kit") / "kit"
    told = []
    made = kit.export(
        ARM,
        folder,
        count=4,
        templates=tiny.TEMPLATES,
        tell=lambda built, of: told.append((built, of)),
    )
    assert made.programs == 4 and told == [(i, 4) for i in range(1, 5)]
    shell = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
    subprocess.run([*shell, "run.sh"], cwd=folder, env={**os.environ, "RUNNER": qemu}, check=True)
    return folder


def test_a_kit_and_its_results(measured, tmp_path):
    given = {"log": tmp_path / "log", "prior": False}
    found = kit.load(ARM, measured, output=tmp_path / "model", **given)
    assert found.model.about.programs >= 3
    read = model.read(tmp_path / "model", Schedules.load(DEVICE, None))
    assert read.about == found.model.about
    # Taken in twice, it is the same.
    kit.load(ARM, measured / "results.json", output=tmp_path / "model", **given)
    with Journal(tmp_path / "log", DEVICE, found.model.about.cpu) as log:
        assert len(log.samples) == 4 and len({str(s.plan) for s in log.samples}) > 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:500], "is cut short"),
        (lambda text: text.replace('"seconds": [', '"seconds": [1.0e-03, ', 1), "been edited"),
        (lambda text: text.replace('"network": "tiny@6"', '"network": "x"', 1), "different kits"),
    ],
)
def test_results_that_are_not_the_kits_are_refused(measured, tmp_path, change, words):
    path = tmp_path / "results.json"
    path.write_text(change((measured / "results.json").read_text()))
    with pytest.raises(DeviceError, match=words):
        kit.load(ARM, path, log=tmp_path / "log", output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_results_of_another_target_or_version_are_refused(measured, tmp_path, monkeypatch):
    with pytest.raises(DeviceError, match="measured for target cortex-a72"):
        kit.load("cortex-a53", measured, log=tmp_path / "log")
    monkeypatch.setattr(kit.journal, "code", lambda: "other")
    with pytest.raises(DeviceError, match="export a new one"):
        kit.load(ARM, measured, log=tmp_path / "log")


def test_clear_errors(measured, tmp_path, capsys):
    with pytest.raises(InputError, match="at least 4"):
        kit.export(ARM, tmp_path / "few", count=3)
    with pytest.raises(DeviceError, match="is there already"):
        kit.export(ARM, measured)
    for arguments, words in (
        (["--export-kit", "x", "--minutes", "3"], "--minutes has no meaning with --export-kit"),
        (["--import-kit", "x", "--programs", "9"], "--programs has no meaning with --import-kit"),
        (["--import-kit", str(tmp_path)], "cannot read the results"),
        (["--secret", "x"], "no meaning without --device"),
    ):
        assert main(["calibrate", "--target", ARM, *arguments]) == 2
        assert words in capsys.readouterr().err
    results = json.loads((measured / "results.json").read_text())
    assert len(results["lines"]) == 3
    # Every program is disturbed.
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ScheduleError, match="0 of 4"):
        patch.setattr(calibrate, "_DISTURBED", -1.0)
        kit.load(ARM, measured, log=tmp_path / "log", prior=False)
