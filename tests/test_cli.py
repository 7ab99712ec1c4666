import json

import numpy as np
import pytest
import torch

from bnn_compiler.cli import main
from bnn_compiler.nn import BinaryConv2d, Sign


def tiny():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), Sign(), BinaryConv2d(8, 8, 3, padding=1)
    ).eval()


def test_the_way_of_a_pt2_file(tmp_path, capsys):
    x = torch.randn(1, 3, 6, 6)
    torch.export.save(torch.export.export(tiny(), (x,)), tmp_path / "net.pt2")
    net, dump = str(tmp_path / "net.bnn"), tmp_path / "dump"
    source = str(tmp_path / "net.pt2")
    assert main(["compile", source, "--target", "native", "-o", net, "--dump-dir", str(dump)]) == 0
    # Without a terminal: what was made, in two lines, and what was measured of it on this CPU.
    said = capsys.readouterr()
    first, second, *advice = said.out.splitlines()
    assert not advice or "`bnnc tune` takes about" in "".join(advice)
    assert "net.bnn" in first and "1 binary layers" in first and not said.err
    assert "input input float32 [1, 3, 6, 6]" in second
    assert sorted(p.name for p in dump.iterdir()) == [
        "0-import.py",
        "1-recognise.py",
        "2-fold.py",
        "3-fuse.py",
    ]
    np.save(tmp_path / "x.npy", x.numpy())
    y = str(tmp_path / "y.npy")
    assert main(["run", net, "--input", str(tmp_path / "x.npy"), "--output", y]) == 0
    expected = tiny()(x).detach().numpy()
    np.testing.assert_allclose(np.load(y), expected, rtol=1e-5, atol=1e-6)
    assert main(["run", net, "--input", str(tmp_path / "x.npy"), "--output", str(dump)]) == 2
    assert "is a folder" in capsys.readouterr().err
    for command in (["inspect", net], ["bench", net, "--repeat", "2"], ["verify", net, source]):
        assert main([*command, "--json"]) == 0
        json.loads(capsys.readouterr().out)
        assert main(command) == 0
        assert capsys.readouterr().out
    page = tmp_path / "page.html"
    assert main(["profile", net, "--repeat", "2", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "bnn.conv2d" in out and ("peaks of 1 core" in out or "no rooflines" in out)
    assert "bnn.conv2d" in page.read_text(encoding="utf-8")
    assert main(["profile", net, "--repeat", "2", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert all(layer["bytes_read"] and layer["bytes_written"] for layer in layers)
    assert all(layer["bytes_weights"] for layer in layers if layer["macs"])


def test_factory_and_checkpoint(tmp_path, capsys):
    torch.save({"state_dict": tiny().state_dict()}, tmp_path / "c.pth")
    arguments = ["compile", "tests.test_cli:tiny", "--shape", "1,3,6,6"]
    arguments += ["--checkpoint", str(tmp_path / "c.pth"), "-o", str(tmp_path / "n.bnn")]
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect", "absent.bnn"], "no artifact"),
        (["tune", "x.pt2", "--device", "lab"], "give tracker://"),
        (["tune", "x.pt2", "--export-candidates", "k", "--minutes", "1"], "no meaning"),
        (["tune", "x.pt2", "--import-results", "k", "--trials", "2"], "no meaning"),
        (["device-server", "--target", "aarch64", "-o", "."], "is a folder"),
        (["compile", "absent.pt2", "-o", "x.bnn"], "no file"),
        (["compile", "tests.test_cli:tiny", "-o", "x.bnn"], "--shape"),
        (
            [
                "compile",
                "tests.test_cli:tiny",
                "--shape",
                "1,3,6,6",
                "--target",
                "pdp11",
                "-o",
                "x",
            ],
            "x86-64-v3",
        ),
    ],
)
def test_errors_are_one_line_and_code_2(arguments, words, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert words in err[-1]


def test_targets(capsys):
    assert main(["targets", "--json"]) == 0
    names = [t["name"] for t in json.loads(capsys.readouterr().out)]
    assert "x86-64-v3" in names
