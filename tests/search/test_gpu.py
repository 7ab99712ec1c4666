"""A search for a GPU: predicted where there is none, timed where there is one (the stub)."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from random import Random

import pytest

from bnn_compiler import target as targets
from bnn_compiler.cli import main
from bnn_compiler.commands.place import Place
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import ScheduleError, TargetError
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.latency import LatencyModel, linked, model, places, regress, vocabulary
from bnn_compiler.latency.sample import Sample
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from tests.deploy.cuda import stub
from tests.deploy.cuda.test_turns import compilers, does_nothing
from tests.latency import machine, tiny
from tests.search.test_command import arguments
from tests.search.test_network import task

GPU = targets.load("cuda-sm90")


@pytest.fixture
def nvcc(tmp_path, monkeypatch):
    """Compilers of a few lines, and no driver."""
    compilers(tmp_path / "bin", monkeypatch)
    none = tmp_path / "none"
    none.mkdir()
    (none / "libcuda.so.1").write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(none))
    monkeypatch.setattr(model, "calibrated", lambda target: tmp_path / f"{target.name}.latency")


def learn(path):
    """A model of a GPU where a launch takes 1 us and 1 GB takes 500 us."""
    random, schedules, samples = Random(0), Schedules(GPU), []
    columns = [vocabulary.GPU.terms.index(n) for n in ("read", "tensors", "written")]
    for _ in range(8):
        kernels = machine.network(random, 4)
        choices = [schedules.pick(k.task) if k.op == "conv2d" else None for k in kernels]
        _, terms, _ = vocabulary.matrix(kernels, choices, GPU)
        steps = 1e-6 + terms[:, columns].sum(axis=1) / 2e12
        samples.append(Sample("net", {"a": 1}, kernels, tuple(steps), steps.sum(), 0.01, 1e-4))
    LatencyModel.fit(samples, schedules, "a GPU", folds=2).save(path)


def test_a_search_for_a_gpu_that_is_not_here(nvcc, tmp_path, monkeypatch):
    monkeypatch.setattr(regress, "_ROUNDS", 10)
    words = [*arguments(tmp_path / "out"), "--target", GPU.name, "--json"]
    words[words.index("--budget") + 1] = "1ms"
    for name, value in (("population", 3), ("generations", 1), ("epochs", 1), ("finalists", 1)):
        words[words.index(f"--{name}") + 1] = str(value)
    said = io.StringIO()
    with redirect_stderr(said):
        assert main(words) == 2
    assert "no latency model of cuda-sm90" in said.getvalue() and "--export-kit" in said.getvalue()
    learn(tmp_path / f"{GPU.name}.latency")
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(io.StringIO()):
        assert main(words) == 0
    found = json.loads(shown.getvalue())
    text = "\n".join(found["summary"])
    assert "Predicted, no board: the code of cuda-sm90 was not timed; a search where" in text
    assert "--device" not in text
    costs = json.loads((tmp_path / "out" / "report.json").read_text())["plans"][0]["costs"]
    # Each of some ten launches takes a microsecond.
    assert 5e-6 < costs[0] < 1e-3
    with pytest.raises(TargetError, match="cuda-sm90 is a GPU: it is timed where it is"):
        Place(task(tmp_path, target=GPU.name), "rpc://host:9090/key").check()


def test_plans_are_timed_on_the_gpu_of_this_machine(nvcc, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "REFERENCE", tiny.REFERENCE)
    searched = task(tmp_path, target=GPU.name)
    assert not Place(searched).measures and Place(searched).name == ""
    with pytest.raises(ScheduleError, match="no latency model"):
        LatencyModel.load(GPU)
    network = searched.space.crop(searched.space.full).eval()
    graph = Network.of(network, searched.inputs).fused(Options().on("cuda"))
    rows, steps = {}, 0
    for name, planned in ((linked.AHEAD, places.reference_plan()), ("timed1", plan.plan(graph))):
        program, functions = realize.realize(planned, Schedules.load(GPU), name)
        code = stub.device_code(program, codegen.kernels(functions, GPU.tvm)[1])
        rows |= {line.split()[0]: line for line in stub.table(program, code).splitlines()}
        steps = len(program.steps)
    for name, value in does_nothing(tmp_path / "stub", rows).items():
        monkeypatch.setenv(name, value)
    place = Place(searched)
    place.check()
    assert place.measures and place.name == "Stub 0"
    measured = place.measure(searched.space.full)
    assert measured == pytest.approx(1e-3 * steps * stub.MILLISECONDS, rel=1e-2)
