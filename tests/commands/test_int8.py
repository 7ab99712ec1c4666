"""int8 on the command line: what means nothing is refused, samples are found, all commands know."""

import argparse
import json

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cli import main
from bnn_compiler.commands.common import read
from bnn_compiler.commands.int8 import calibration
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.cost.records import Record
from bnn_compiler.errors import InputError
from bnn_compiler.network import Network
from bnn_compiler.ops.storage import Storage
from bnn_compiler.options import Options
from bnn_compiler.plan import plan
from bnn_compiler.quantization import calibrate
from bnn_compiler.tune.network import Subject
from tests.test_cli import tiny

TINY = ["tests.test_cli:tiny", "--shape", "1,3,6,6", "--target", "x86-64-v3"]


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("check", ["--float", "0"], "--float has no meaning without --rest int8"),
        ("predict", ["--float", "0"], "--float has no meaning without --rest int8"),
        ("tune", ["--float", "0"], "--float has no meaning without --rest int8"),
        ("compile", ["-o", "n.bnn", "--float", "0"], "are for rest 'int8'"),
        ("compile", ["-o", "n.bnn", "--calibrate-by", "mse"], "--calibrate-by has no meaning"),
        ("check", ["--rest", "int8", "--float", "9"], "no layer '9' would run as int8"),
        ("predict", ["--rest", "int8", "--float", "9"], "no layer '9' would run as int8"),
        ("tune", ["--rest", "int8", "--float", "9"], "no layer '9' would run as int8"),
        ("predict", ["--rest", "int8", "--sweep", "0"], "plans are of float32"),
        ("check", ["--rest", "int8", "--target", "cuda-sm90"], "--rest float32"),
        ("predict", ["--rest", "int8", "--target", "cuda-sm90"], "--rest float32"),
        ("tune", ["--rest", "int8", "--target", "cuda-sm90"], "--rest float32"),
        ("compile", ["-o", "n.bnn", "--tolerance", "0.1"], "no meaning without --rest auto"),
        ("check", ["--rest", "auto"], "needs samples to calibrate on"),
        ("predict", ["--rest", "auto", "--target", "cuda-sm90"], "rest 'auto' is for CPUs"),
        ("check", ["--rest", "auto", "--target", "cuda-sm90"], "rest 'auto' is for CPUs"),
        ("tune", ["--rest", "auto", "--target", "cuda-sm90"], "rest 'auto' is for CPUs"),
        ("check", ["--batch", "2,1,2"], "--batch 2,1,2: give different sizes"),
        ("predict", ["--batch", "2,2"], "--batch 2,2: give different sizes"),
    ],
)
def test_what_has_no_meaning_is_refused(command, given, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([command, *TINY, *given]) == 2
    assert message in capsys.readouterr().err


def tokens():
    """Linear layers of a sequence: torch.export flattens it in front of each."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5)).eval()


def sequences():
    return [torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(s)) for s in range(3)]


def broken():
    raise RuntimeError("no such disk")


def test_compile_says_what_it_made_without_a_terminal(tmp_path, capsys, caplog):
    wanted = ["--shape", "2,7,12", "--target", "x86-64-v3", "-o", str(tmp_path / "n.bnn")]
    here = "tests.commands.test_int8"
    samples = ["--rest", "int8", "--calibrate", f"{here}:sequences"]
    assert main(["compile", f"{here}:tokens", *wanted, *samples]) == 0
    assert "int8: 2 layers; the top-1 class of" in capsys.readouterr().err
    assert "this network runs as int8 and float kernels only" in caplog.text


def given(path):
    return argparse.Namespace(
        rest="int8", float=[], calibrate=str(path), calibrate_by=None, tolerance=None
    )


def test_samples_of_files(tmp_path):
    first, second = np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)
    np.save(tmp_path / "a.npy", first)
    np.savez(tmp_path / "b.npz", second, first)
    (one,) = calibration(given(tmp_path / "a.npy"))["calibration"]
    np.testing.assert_array_equal(one, first)
    (pair,) = calibration(given(tmp_path / "b.npz"))["calibration"]
    assert isinstance(pair, tuple) and [len(x) for x in pair] == [1, 2]
    # A folder has both.
    assert len(calibration(given(tmp_path))["calibration"]) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "cannot read .*a.npy as .npy"),
        ("a.npz", b"PK\3\4 and nothing else", "cannot read .*a.npz as .npz"),
        ("a.txt", b"1 2 3", "cannot read .*a.txt"),
        ("folder", None, "has no .npy or .npz files"),
        ("gone.npz", None, "cannot read .*gone.npz as .npz"),
    ],
)
def test_files_that_hold_no_samples(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=message):
        calibration(given(path))


def test_a_factory_that_fails():
    with pytest.raises(InputError, match=r"broken gives no samples: RuntimeError.*no such disk"):
        calibration(given("tests.commands.test_int8:broken"))


def test_an_archive_where_one_array_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", first=np.zeros(1), second=np.zeros(1))
    with pytest.raises(InputError, match=r"archive of arrays \(first, second\)"):
        read(tmp_path / "x.npz")


def test_predict_prices_int8(capsys):
    assert main(["predict", *TINY, "--json", "--explain"]) == 0
    float32 = json.loads(capsys.readouterr().out)
    assert main(["predict", *TINY, "--rest", "int8", "--json", "--explain"]) == 0
    int8 = json.loads(capsys.readouterr().out)
    assert [k["what"] for k in float32["kernels"]] != [k["what"] for k in int8["kernels"]]
    (stem,) = [k for k in int8["kernels"] if k["name"] == "0"]
    assert stem["what"].startswith("int8 ") and stem["seconds"] > 0
    assert main(["predict", *TINY, "--rest", "int8", "--float", "0", "--json", "--explain"]) == 0
    assert json.loads(capsys.readouterr().out)["kernels"] == float32["kernels"]


def test_what_is_tuned_is_what_is_compiled():
    """The kernels that ``tune --rest int8`` measures are those of any calibration."""
    model, x = tiny(), torch.randn(1, 3, 6, 6)
    device = targets.load("x86-64-v3")
    subject = Subject.of(model, (x,), target="x86-64-v3", float_layers=())
    (task,) = [t for t in subject.tasks() if t.work.x.storage is Storage.BYTES]
    network = Network.of(model, (x,))
    calibrated = calibrate(network, Options(), [x, 3 * x])
    planned = plan.plan(network.fused(Options(int8=calibrated.ranges)))
    assert task in planned.tasks
    point = families.space(task, device.hardware)[-1]
    assert point != families.rule(task, device.hardware)
    digest = families.digest(families.function(task, point), device)
    record = Record(task, point, 1e-5, 2e-5, 3, digest)
    found = Schedules(device, {record.key: record}).pick(task)
    assert (found.point, found.source) == (point, "record")
    in_float = Subject.of(model, (x,), target="x86-64-v3", float_layers=("0",)).tasks()
    assert in_float == Subject.of(model, (x,), target="x86-64-v3").tasks()
    # Both forms of what is not binary, for whoever chooses between them.
    both = Subject.of(model, (x,), target="x86-64-v3", float_layers=(), also_float=True).tasks()
    assert set(both) == set(in_float) | set(subject.tasks())
    assert max(both.values()) <= max(in_float.values())


def few():
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(2))


AUTO = ["--rest", "auto", "--calibrate", "tests.commands.test_int8:few", "--tolerance", "1"]


def test_check_and_predict_choose_as_compile_does(capsys):
    vnni = [*TINY[:-1], "x86-avx512-vpopcnt"]
    assert main(["check", *vnni, *AUTO, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (stem,) = [one for one in found["rest"]["layers"] if one["layer"] == "0"]
    kinds = {line["layer"]: line["kind"] for line in found["layers"]}
    assert kinds["0"] == ("int8" if stem["kind"] == "int8" else "float")
    assert main(["predict", *TINY, *AUTO, "--explain"]) == 0
    assert "layers run as int8" in capsys.readouterr().out
    assert main(["check", *vnni, "--rest", "int8", *AUTO[2:4]]) == 2
    assert "--calibrate has no meaning here without --rest auto" in capsys.readouterr().err
