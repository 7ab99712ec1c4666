"""The whole command on a small network: interrupted, resumed, and what it leaves."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import bnn_compiler
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.search.costs import counted
from tests.search.digits import few, network

ROOT = Path(__file__).parents[2]
LIMIT = 700_000


def command(out, *more):
    return [
        *(sys.executable, "-m", "bnn_compiler", "search", "tests.search.digits:network"),
        *("--shape", "1,1,32,32", "--data", "tests.search.digits:few"),
        *("--budget", f"{LIMIT}BOPs", "-o", str(out), "--population", "6", "--generations", "2"),
        *("--epochs", "4", "--supernet-epochs", "1", "--batch", "50", "--finalists", "2", *more),
    ]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, stderr of a run that Ctrl-C ended, stdout of the one that went on)."""
    out = tmp_path_factory.mktemp("search")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command(out), cwd=ROOT, env=environment, **pipes)
    lines = []
    for line in first.stderr:
        lines.append(line)
        if line.startswith("generation 1 of 2"):
            first.send_signal(signal.SIGINT)
    assert first.wait() == 130, "".join(lines)
    second = subprocess.run(command(out, "--resume"), cwd=ROOT, env=environment, **pipes)
    assert second.returncode == 0, second.stderr
    return out, "".join(lines), second.stdout


def test_ctrl_c_says_how_to_go_on(searched):
    out, lines, _ = searched
    assert "supernet, epochs: 1 of 1" in lines
    assert re.search(r"generation 1 of 2: 6 candidates, best \d+\.\d% at \d+% of the budget", lines)
    assert "go on with: bnnc search tests.search.digits:network" in lines
    assert f"-o {out}" in lines and lines.count("--resume") == 1
    assert "Traceback" not in lines


def test_the_plan_keeps_its_budget(searched):
    out, _, text = searched
    plan = json.loads((out / "plan.json").read_text())["plan"]
    space = PlanSpace.of(network(), (torch.zeros(1, 1, 32, 32),))
    (cost,) = counted("BOPs", space).of([plan])
    # Scaled up to the budget, so most of it is used.
    assert 0.7 * LIMIT < cost <= LIMIT
    assert "12 candidates in 2 generations" in text
    assert "Trained from scratch and tested: searched" in text and "uniform" in text


def test_what_is_left_loads_as_it_says(searched, monkeypatch):
    """plan.json's lines, network.pt2 and network.bnn are one network."""
    out, _, _ = searched
    monkeypatch.chdir(out)
    monkeypatch.syspath_prepend(str(ROOT))
    names = {}
    exec("\n".join(json.loads((out / "plan.json").read_text())["load"]), names)
    images = few()[1].images[:20]
    program = torch.export.load(out / "network.pt2").module()
    artifact = bnn_compiler.load(out / "network.bnn")
    with torch.no_grad():
        loaded = [names["network"].eval()(x[None])[0].numpy() for x in images]
        exported = [program(x[None])[0].numpy() for x in images]
    compiled = [artifact.run(x[None].numpy())[0] for x in images]
    assert np.allclose(loaded, exported, atol=1e-5)
    agree = np.mean(np.argmax(compiled, 1) == np.argmax(loaded, 1))
    assert agree >= 0.9


def test_the_report(searched):
    out, _, _ = searched
    data = json.loads((out / "report.json").read_text())
    searched_plan, uniform, full = data["plans"]
    assert searched_plan["measured"] > 0 and uniform["measured"] > 0
    assert full["costs"][0] > LIMIT >= searched_plan["costs"][0]
    assert len(data["candidates"]) == 2 and len(data["candidates"][0]) == 6
    # The uniform plan is the first candidate, and every finalist was trained.
    assert data["candidates"][0][0]["plan"] == uniform["plan"]
    assert {t["stage"] for t in data["trained"]} == {"halving 1", "halving 2", "full"}
    assert all(0 < t["validation"] <= 1 for t in data["trained"])
    page = (out / "report.html").read_text()
    assert "Searched against uniform" in page and "<script" not in page


def test_a_search_is_not_overwritten(searched, capsys):
    from bnn_compiler.cli import main

    out, _, _ = searched
    assert main(command(out)[3:]) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert main([*command(out)[3:], "--resume", "--seed", "1"]) == 2
    assert "seed was 0 and is 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "2parsecs"], "give a positive number and a unit"),
        (["--budget", "1BOPs"], "two budgets in BOPs"),
        (["--budget", "1kB"], r"budget 1kB cannot be met: the smallest plan .* takes \d+\.\d+ kB"),
        (["--shape", "1,x"], "give integers"),
        (["--groups", "0"], "give integers"),
        (["--population", "1"], "population 1"),
    ],
)
def test_what_cannot_be_is_one_line(more, message, tmp_path, capsys):
    from bnn_compiler.cli import main

    assert main([*command(tmp_path / "out")[3:], *more]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out" / "search.json").exists()
