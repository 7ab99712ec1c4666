"""A kit for a GPU, measured on the stub of the driver, and compiled with what it found.

Machine code is not looked at by the stub, so a few lines of shell are its compiler: what nvcc makes
of these kernels is in tests/kernels/cuda. The kernels are emulated.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device import gpu
from bnn_compiler.device.measure import CANNOT_RUN, Plan, run_here
from bnn_compiler.errors import DeviceError, TargetError
from bnn_compiler.kernels.cuda import emulate
from bnn_compiler.tune import harness, kit, network, tuner
from bnn_compiler.tune.journal import Journal
from tests.deploy.cuda import stub
from tests.kernels import kernel

#: Its two families of binary products differ in what channels that are not there add.
GPU = targets.load("cuda-sm100")
TASKS = [kernel.task(40, 5, 24), kernel.task(3, 4, 8, dtype="float32")]
TRIALS = 3
#: Kernels wait themselves, so they may start early.
NVCC = """#!/bin/sh
while [ "$1" != -ptx ]; do shift; done
sed -n 's/.*__global__.* \\(\\w*\\)(.*/.entry \\1 griddepcontrol.wait/p' "$2" >"$4"
"""
PTXAS = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
printf '\\177ELF' >"$2"
"""

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++"
)


@pytest.fixture(scope="module")
def compilers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compilers")
    for name, text in (("nvcc", NVCC), ("ptxas", PTXAS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return stub.driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, compilers):
    """(folder, the kit's folder there, points), with what the stub has to know of its kernels."""
    folder = tmp_path_factory.mktemp("kit")
    points = [(t, p) for t in TASKS for p in some(t)]
    made = kit.export(points, GPU, folder / "kit.tar.gz")
    assert (made.candidates, made.failed) == (len(points), 0) and len(points) == 2 * TRIALS
    with tarfile.open(made.path) as archive:
        archive.extractall(folder, filter="data")
    inside = folder / f"bnn-kit-{made.id}"
    functions = {f"candidate{i}": families.function(t, p) for i, (t, p) in enumerate(points)}
    emulate.host_library(functions, folder / "kernels.so")
    listed = (inside / "candidates.txt").read_text().splitlines()
    rows = [row(inside / "constants" / line.split()[1], i) for i, line in enumerate(listed)]
    (folder / "launches.txt").write_text("".join(rows))
    return folder, inside, points


def some(task):
    """The rule's schedule, and others of every family."""
    found = {p.family: p for p in families.space(task, GPU.hardware)}
    others = [*found.values(), *families.space(task, GPU.hardware)]
    return list(dict.fromkeys([families.rule(task, GPU.hardware), *others]))[:TRIALS]


def row(constants, number):
    """The stub's line for a candidate: the third one of a task is the fastest."""
    with constants.open("rb") as file:
        found = json.loads(file.readline())
    places = [
        v
        for place, buffer in zip(found["order"], found["buffers"], strict=True)
        for v in (place, buffer["bytes"], 4)
    ]
    numbers = [*found["grid"], *found["block"], found["shared"], 3 - number % 3]
    symbol = found["symbol"]
    words = [symbol, symbol.removesuffix("_kernel"), *numbers, len(found["order"]), *places]
    return " ".join(map(str, words)) + "\n"


def environment(driver, folder, **more):
    return {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": str(driver),
        "STUB_KERNELS": str(folder / "kernels.so"),
        "STUB_LAUNCHES": str(folder / "launches.txt"),
        "STUB_SM": str(GPU.gpu.sm),
        **more,
    }


def measured(folder, inside, **variables):
    return subprocess.run(
        ["sh", str(inside / "run.sh"), str(folder / "results.json")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_a_kit_to_a_network_that_is_compiled_with_its_records(unpacked, driver, tmp_path):
    folder, inside, points = unpacked
    done = measured(tmp_path, inside, **environment(driver, folder))
    assert done.returncode == 0, done.stderr
    found = kit.load(tmp_path / "results.json", TASKS, GPU)
    assert found.board == "Stub 0"
    assert not [t.error for t in found.trials if t.error]
    # 3, 2 and 1 ms, by graphs of launches.
    assert [round(1e3 * t.seconds) for t in found.trials] == [3, 2, 1] * 2
    assert [(t.task, t.point) for t in found.trials] == points
    path = tmp_path / "mine.jsonl"
    with Journal(tmp_path / "journal.jsonl", GPU, found.board) as log:
        for trial in found.trials:
            log.add(trial)
        report = tuner.conclude(TASKS, GPU, log, path)
    assert {r.seconds for r in report.records} == {1e-3} and report.failed == 0
    assert {r.rule_seconds for r in records.read(path).values()} == {3e-3}
    for task, fastest in zip(TASKS, points[2::3], strict=True):
        choice = Schedules.load(GPU, path).pick(task)
        assert (choice.source, choice.point) == ("record", fastest[1])
        # One image is split to fill a GPU, a batch is not.
        assert Schedules.load(GPU, path).pick(task.of_batch(64)).source == "rule"


def test_what_is_tried_first(tmp_path):
    points = tuner.points_to_try(TASKS, GPU, tmp_path / "none.jsonl", TRIALS)
    assert len(set(points)) == len(points) == 2 * TRIALS
    assert [p for _, p in points[::TRIALS]] == [families.rule(t, GPU.hardware) for t in TASKS]


def test_a_machine_without_a_gpu_says_so(unpacked, driver, tmp_path):
    _, inside, _ = unpacked
    (tmp_path / "libcuda.so.1").write_text("")
    done = measured(tmp_path, inside, PATH=os.environ["PATH"], LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 2
    assert "there is no NVIDIA driver here: libcuda.so.1 was not found" in done.stderr


def test_here_where_there_is_a_gpu(unpacked, driver, tmp_path, monkeypatch):
    folder, _, points = unpacked
    for name, value in environment(driver, folder).items():
        monkeypatch.setenv(name, value)
    machine = gpu.here(GPU)
    assert machine.here and machine.name == "Stub 0"
    task, point = points[0]
    program = harness.build(
        families.function(task, point), task, point, GPU, tmp_path / "candidate0"
    )
    outcome = run_here(program, Plan(repeats=2))
    assert outcome.found is not None, outcome.error
    assert outcome.found.name == harness.name_of(task)
    assert [round(1e3 * s) for s in outcome.found.seconds] == [3, 3]
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (tmp_path / "libcuda.so.1").write_text("")
    with pytest.raises(TargetError, match=r"there is no NVIDIA driver here.*--export-candidates"):
        gpu.here(GPU)
    with pytest.raises(DeviceError, match="there is no NVIDIA driver"):
        run_here(program)
    done = subprocess.run([sys.executable, program.path, "--gpu"], check=False, capture_output=True)
    assert done.returncode == CANNOT_RUN


def test_a_gpu_is_no_board():
    with pytest.raises(TargetError, match="is a GPU: it is measured where it is"):
        network._machine(GPU, "rpc://host:9090/key")
