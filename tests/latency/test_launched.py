"""A calibration of a GPU by a kit, on the stub of the driver: kernels take 0.5 ms each there."""

import json
import os
import subprocess
from functools import partial

import numpy as np
import pytest
import torch

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device.measure import Plan as Measuring
from bnn_compiler.errors import ScheduleError, TargetError
from bnn_compiler.latency import (
    LatencyModel,
    PlanSpace,
    calibrate,
    kit,
    launched,
    linked,
    model,
    places,
    regress,
)
from tests.deploy.cuda import stub
from tests.deploy.cuda.test_turns import compilers, does_nothing
from tests.latency import tiny

GPU = targets.load("cuda-sm90")
ROUNDS = 2


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """Few programs, rounds and trees, and files of its own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        compilers(folder / "bin", patch)
        patch.setattr(regress, "_ROUNDS", 10)
        patch.setattr(calibrate, "LEAST", 4)
        patch.setattr(calibrate, "TURN", 2)
        patch.setattr(linked, "measuring", lambda: Measuring(ROUNDS, 1e-6, 100))
        patch.setattr(linked, "read", partial(linked.read, rounds=ROUNDS))
        patch.setattr(places, "REFERENCE", tiny.REFERENCE)
        for module in (calibrate, model):
            patch.setattr(module, "user_cache_path", lambda name: folder)
        # Shipped is none.
        patch.setattr(model, "shipped", lambda target: folder / "none")
        yield folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory, small):
    """A kit's folder, with its results."""
    folder = tmp_path_factory.mktemp("kit")
    made = kit.export(GPU.name, folder / "kit", count=4, templates=tiny.TEMPLATES)
    assert made.programs == 4 and made.bytes < 1 << 20
    rows = {}
    for path in (folder / "kit" / "constants").iterdir():
        for network in json.loads(path.read_bytes().partition(b"\n")[0])["networks"]:
            for index, arguments in network["steps"]:
                one = network["kernels"][index]
                words = [one["symbol"]] * 2 + [*one["grid"], *one["block"], one["shared"]]
                words += [stub.MILLISECONDS, len(arguments)]
                words += [v for place in range(len(arguments)) for v in (place, 4, 4)]
                rows[one["symbol"]] = " ".join(map(str, words))
    environment = {"PATH": os.environ["PATH"], **does_nothing(folder / "stub", rows)}
    subprocess.run(["sh", "run.sh"], cwd=folder / "kit", env=environment, check=True)
    return folder / "kit"


def test_from_a_kit_to_a_prediction(measured):
    with pytest.raises(ScheduleError, match="no latency model of cuda-sm90; `bnnc calibrate"):
        LatencyModel.load(GPU)
    _, samples = kit.timed(GPU, measured)
    assert {s.plan["batch"] for s in samples} <= set(launched.BATCHES)
    for sample in samples:
        assert sample.kernels[0].reads[0].shape[0] == sample.plan["batch"]
        assert sample.steps == pytest.approx([5e-4] * len(sample.kernels), rel=1e-2)
        assert sample.seconds == pytest.approx(sum(sample.steps), rel=1e-2)
    found = kit.load(GPU.name, measured)
    assert found.model.about.cpu == "Stub 0" and found.model.about.programs == 4
    learnt = LatencyModel.load(GPU)
    assert learnt.about == found.model.about
    space = PlanSpace.of(tiny.network().eval(), (torch.zeros(1, 3, 8, 8),), target=GPU.name)
    plan = {name: count - 1 for name, count in space.groups.items()}
    asked = learnt.predict(space, [plan, {**plan, "batch": 3}])
    calls = len(space.kernels(plan))
    np.testing.assert_allclose(asked.seconds, calls * 5e-4, rtol=0.05)
    assert (asked.low <= asked.seconds).all() and (asked.seconds <= asked.high).all()
    assert {row.source for row in learnt.explain(space.kernels(plan))} == {"rule", "fixed"}


def test_a_cpus_model_is_no_gpus(measured, tmp_path):
    kit.load(GPU.name, measured, output=tmp_path / "model")
    with pytest.raises(ScheduleError, match="not a latency model of this version"):
        model.read(tmp_path / "model", Schedules(targets.load("x86-64-v3")))


def test_a_gpu_that_is_not_here_and_one_that_is_no_board(tmp_path, monkeypatch):
    (tmp_path / "libcuda.so.1").write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"no NVIDIA driver.*--export-kit"):
        calibrate.calibrate(GPU.name)
    with pytest.raises(TargetError, match="is a GPU: it is calibrated where it is"):
        calibrate.calibrate(GPU.name, device="rpc://host:9090/key")
