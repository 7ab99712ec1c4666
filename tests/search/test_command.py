"""The whole command on a small network: what it says, what it leaves, and going on."""

import io
import json
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch

import bnn_compiler
from bnn_compiler.cli import _parser, main
from bnn_compiler.commands import search as command
from bnn_compiler.latency.model import LatencyModel
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.search.costs import counted
from tests.search.digits import few, network

ROOT = Path(__file__).parents[2]
LIMIT = 180_000


def arguments(out, *more):
    return [
        *("search", "tests.search.digits:network", "--shape", "1,1,32,32"),
        *("--data", "tests.search.digits:few", "--budget", f"{LIMIT}BOPs", "-o", str(out)),
        *("--population", "5", "--generations", "2", "--epochs", "4", "--supernet-epochs", "1"),
        *("--batch", "50", "--finalists", "2", *more),
    ]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, stdout, stderr)."""
    out = tmp_path_factory.mktemp("search")
    shown, progress = io.StringIO(), io.StringIO()
    with redirect_stdout(shown), redirect_stderr(progress):
        assert main(arguments(out)) == 0
    return out, shown.getvalue(), progress.getvalue()


def test_progress(searched):
    _, _, lines = searched
    assert lines.count("supernet, epochs: 1 of 1") == 1
    assert re.search(r"generation 1 of 2: 5 candidates, best \d+\.\d% at \d+% of the budget", lines)
    assert re.search(r"measured \d+\.?\d* us", lines)


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(args, live, stack):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_search", interrupted)
    monkeypatch.setattr(sys, "argv", ["bnnc", *arguments(tmp_path, "--resume")])
    assert main(arguments(tmp_path)) == 130
    error = capsys.readouterr().err
    assert "go on with: bnnc search tests.search.digits:network --shape" in error
    assert error.count("--resume") == 1


def test_the_plan_keeps_its_budget(searched):
    out, text, _ = searched
    plan = json.loads((out / "plan.json").read_text())["plan"]
    space = PlanSpace.of(network(), (torch.zeros(1, 1, 32, 32),))
    (cost,) = counted("BOPs", space).of([plan])
    # Scaled up to the budget, so most of it is used.
    assert 0.7 * LIMIT < cost <= LIMIT
    assert "10 candidates in 2 generations" in text
    found = json.loads((out / "report.json").read_text())["plans"]
    if found[0]["plan"] == found[1]["plan"]:
        assert "The search found no plan but the uniform one" in text
    else:
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
    assert len(data["candidates"]) == 2 and len(data["candidates"][0]) == 5
    # The uniform plan is the first candidate, and every finalist was trained.
    assert data["candidates"][0][0]["plan"] == uniform["plan"]
    assert {t["stage"] for t in data["trained"]} == {"halving 1", "halving 2", "full"}
    assert all(0 < t["validation"] <= 1 for t in data["trained"])
    page = (out / "report.html").read_text()
    assert "<script" not in page and (
        searched_plan["plan"] == uniform["plan"] or "Searched against uniform" in page
    )


def test_a_finished_search_resumes_to_the_same(searched, capsys):
    out, text, _ = searched
    before = {n: (out / n).read_bytes() for n in ("search.json", "plan.json", "network.pt")}
    assert main(arguments(out, "--resume")) == 0
    assert {n: (out / n).read_bytes() for n in before} == before
    # The artifact is timed again.
    timed = re.compile(r"artifact takes .*")
    assert timed.sub("", capsys.readouterr().out) == timed.sub("", text)


def test_a_search_is_not_overwritten(searched, capsys):
    out, _, _ = searched
    assert main(arguments(out)) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert main(arguments(out, "--resume", "--seed", "1")) == 2
    assert "seed was 0 and is 1" in capsys.readouterr().err


def test_a_search_by_another_latency_model_is_another(tmp_path):
    args = _parser().parse_args(arguments(tmp_path))
    text = [
        command._identity(args, [], times)["latency"]
        for times in (None, *(LatencyModel.load(n) for n in ("cortex-a72", "cortex-a53")))
    ]
    assert text[0] is None and len(set(text)) == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "2parsecs"], "give a positive number and a unit"),
        (["--budget", "1BOPs"], "two budgets in BOPs"),
        (["--budget", "99B"], r"budget 99B cannot be met: the smallest plan .* takes \d\.\d+ kB"),
        (
            ["--target", "cortex-a72", "--budget", "1us"],
            r"budget 1us cannot be met: the smallest plan .* takes \d+\.?\d* us; it is \{\"block",
        ),
        (["--shape", "1,x"], "give integers"),
        (["--groups", "0"], "give integers"),
        (["--population", "1"], "population 1"),
    ],
)
def test_what_cannot_be_is_one_line(more, message, tmp_path, capsys):
    assert main(arguments(tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out" / "search.json").exists()
