import json

import pytest
import torch

from bnn_compiler.cli import main
from bnn_compiler.latency import LatencyModel, calibrate, model
from bnn_compiler.nn import BinaryConv2d, RSign
from tests.latency import machine

NET = ["tests.latency.test_commands:net", "--shape", "1,3,16,16", "--target", "x86-64-v3"]


def net():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 24, 3, padding=1),
        RSign(24),
        BinaryConv2d(24, 40, 3, padding=1),
        torch.nn.BatchNorm2d(40),
    ).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A model of a machine that is a formula."""
    path = tmp_path_factory.mktemp("models") / "m.ubj"
    LatencyModel.fit(machine.samples(12), machine.SCHEDULES, "a made-up CPU").save(path)
    return path


@pytest.fixture
def known(file, monkeypatch):
    monkeypatch.setattr(model, "calibrated", lambda target: file)


def answer(capsys, *arguments):
    assert main(["predict", *NET, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_network_as_it_is_and_what_its_kernels_take(known, capsys):
    found = answer(capsys, "--explain")
    assert 0 < found["low"] < found["seconds"] < found["high"] and found["measured"]
    assert sum(k["seconds"] for k in found["kernels"]) == pytest.approx(found["seconds"])
    assert main(["predict", *NET, "--explain"]) == 0
    text = capsys.readouterr().out
    assert "binary 3x3 24->40" in text and "80 % interval" in text and "a made-up CPU" in text


def test_a_plan_is_faster_than_the_network(known, capsys, tmp_path):
    assert main(["predict", *NET, "--groups", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    (name,) = (n for n, size in groups.items() if size == 24)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({name: 8}))
    assert answer(capsys, "--plan", str(plan))["seconds"] < answer(capsys)["seconds"]
    plan.write_text(json.dumps({"conv9": 8}))
    assert main(["predict", *NET, "--plan", str(plan)]) == 2
    assert "conv9" in capsys.readouterr().err
    for text in ("[1]", '{"a": 1.5}', "{"):
        plan.write_text(text)
        assert main(["predict", *NET, "--plan", str(plan)]) == 2
        assert "plan.json" in capsys.readouterr().err

    page = tmp_path / "s.html"
    swept = answer(capsys, "--sweep", name, "--html", str(page))
    assert swept["channels"][-1] == 24 and len(swept["seconds"]) == 24
    assert swept["dominated"][-1] is False and "<svg" in page.read_text()
    assert main(["predict", *NET, "--sweep", "conv9"]) == 2
    assert name in capsys.readouterr().err


def test_an_arm_core_says_that_there_was_no_board(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(model, "calibrated", lambda target: tmp_path / "none")
    monkeypatch.setattr(model, "shipped", lambda target: tmp_path / "none")
    arm = [*NET[:3], "--target", "cortex-a72"]
    assert main(["predict", *arm]) == 0
    assert "predicted, no board" in capsys.readouterr().out
    assert main(["predict", *NET]) == 2
    assert "bnnc calibrate" in capsys.readouterr().err


def test_pictures_need_a_sweep(capsys):
    assert main(["predict", *NET, "--png", "a.png"]) == 2
    assert "without --sweep" in capsys.readouterr().err


def test_calibrate_says_what_it_made(capsys, monkeypatch, file):
    found = calibrate.Calibration(model.read(file, machine.SCHEDULES), file, 1)

    def run(target, *, tell, **options):
        assert options["minutes"] == 0.5 and options["prior"] is False
        tell(calibrate.State(8, 6.0, 30.0, 0.031, "timing"))
        return found

    monkeypatch.setattr(calibrate, "calibrate", run)
    assert main(["calibrate", "--minutes", "0.5", "--no-prior"]) == 0
    shown = capsys.readouterr()
    assert "12 programs" in shown.out and str(file) in shown.out
    assert "0.1 of 0.5 minutes, 8 programs, error so far 3.1 %: timing" in shown.err
    assert main(["calibrate", "--minutes", "0.5", "--no-prior", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["disturbed"] == 1 and shown.err == ""
