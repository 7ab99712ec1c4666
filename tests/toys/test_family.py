"""A family of kernels is one class and one entry in the table: a naive float convolution."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from tvm import te

import bnn_compiler
from bnn_compiler import families, zoo
from bnn_compiler import target as targets
from bnn_compiler.cost import features, records
from bnn_compiler.cost.records import Record
from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.epilogue import f32, finish, fma, placeholder
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.tune.journal import Journal, Trial
from tests.kernels import kernel


@dataclass(frozen=True)
class NaivePoint(Point):
    """Threads share "rows" or "pixels"."""

    family = "naive"
    shared: str


class Naive:
    """Each output's taps, one after the other, all unrolled."""

    name = NaivePoint.family
    point = NaivePoint

    def fits(self, task, hardware):
        work = task.work
        is_float = work.x.storage is Storage.FLOAT32 and not work.winograd
        return is_float and work.groups == 1 and work.x.shape[3] <= 4

    def points(self, task, hardware):
        yield NaivePoint("rows")
        yield NaivePoint("pixels")

    def rule(self, task, hardware):
        return NaivePoint("pixels")

    def constants(self, task, point, weights):
        wide = np.zeros((round_up(task.work.shape[3], LANES), *weights[0].shape[1:]), np.float32)
        wide[: task.work.shape[3]] = weights[0]
        return [np.ascontiguousarray(wide.transpose(1, 2, 3, 0))]

    def function(self, task, point):
        work, inputs = task.work, task.work.x.shape[3]
        x, tap = placeholder(work.x, "x"), work.tap()
        shape = (*work.kernel, inputs, round_up(work.shape[3], LANES))
        w = te.placeholder(shape, "float32", name="w")

        def value(i, y, z, c):
            total = f32(0)
            for ky, kx, k in np.ndindex(*shape[:3]):
                total = fma(x[i, *tap(y, ky, z, kx), k], w[ky, kx, k, c], total)
            return total

        stages = finish(work.shape, value, task.epilogue, list(task.tensors), [x, w])
        sch = schedule.of(stages)
        n, y, z, c = sch.get_loops(sch.get_sblock("value"))
        block, lane = sch.split(c, [None, LANES])
        schedule.attach_bits(sch, stages, block)
        sch.parallel(sch.fuse(n, y, *([z] if point.shared == "pixels" else [])))
        sch.vectorize(lane)
        schedule.tensorize_bits(sch, stages)
        return sch.mod["main"]

    def counts(self, task, point, hardware):
        kh, kw = task.work.kernel
        inputs = task.work.x.shape[3]
        return Counts(
            grouping=merge(inputs, task.work.shape[3], 1, 1),
            pixels=1,
            vectors=1,
            accumulators=1,
            weights=1,
            mix=Mix(vector=1, loads=2, fma=1),
            steps=kh * kw * inputs,
            inner=1,
            body=kh * kw * inputs,
            word=32,
            word_bytes=4,
            order=point.shared,
        )


@pytest.fixture
def naive(monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "llvm", (*families.FAMILIES["llvm"], Naive()))


FIRST = kernel.task(3, 6, 20, dtype="float32")
BINARY = kernel.task(64, 6, 64)
HARDWARE = targets.load("x86-64-v3").hardware


def test_it_is_in_the_space_of_what_fits(naive):
    space = families.space(FIRST, HARDWARE)
    assert {p.family for p in space} == {"float32", "naive"}
    assert families.rule(FIRST, HARDWARE) == NaivePoint("pixels")
    assert "naive" not in {p.family for p in families.space(BINARY, HARDWARE)}
    values, rough = features.matrix(FIRST, space, HARDWARE)
    assert np.isfinite(values).all() and (rough > 0).all()
    assert len(np.unique(values, axis=0)) == len(space), "two schedules look the same"


def test_every_schedule_computes_the_reference(naive, every_target, tmp_path):
    x, weights, operands = kernel.inputs(FIRST)
    wanted = kernel.expected(FIRST, x, weights, operands)
    for name in every_target:
        for point in Naive().points(FIRST, targets.load(name).hardware):
            folder = tmp_path / f"{name}-{point.shared}"
            folder.mkdir()
            found = kernel.run(FIRST, point, targets.load(name), folder, x, weights, operands)
            for a, b in zip(found, wanted, strict=True):
                assert np.array_equal(a, b)


def test_a_network_with_it_verifies(naive, tmp_path):
    # A target without records and model, so that the rule decides.
    native = targets.native().name
    mine = tmp_path / "mine.toml"
    shutil.copy(targets.DATA / "targets" / f"{native}.toml", mine)
    model = nn.Sequential(nn.Conv2d(3, 20, 3, padding=1), nn.BatchNorm2d(20), nn.PReLU(20)).eval()
    x = torch.randn(2, 3, 6, 6)
    zoo.randomize(model, x)
    net = bnn_compiler.compile(model, (x,), target=mine, output=tmp_path / "n.bnn")
    points = [s["schedule"]["point"] for s in net.manifest["steps"]]
    assert {"family": "naive", "shared": "pixels"} in points
    assert bnn_compiler.verify(net, model, [x]).ok


def test_records_and_trials_outlive_it(naive, monkeypatch, tmp_path):
    target, point = targets.load("x86-64-v3"), NaivePoint("rows")
    code = families.digest(families.function(FIRST, point), target)
    path = tmp_path / "records.jsonl"
    record = Record(FIRST, point, 1e-4, None, 2, code)
    records.write(path, {record.key: record})
    with Journal(tmp_path / "trials.jsonl", target) as log:
        log.add(Trial(FIRST, point, 1e-4))
    assert records.read(path)[record.key].point == point
    text = path.read_text()
    monkeypatch.undo()
    without = records.read(path)
    assert without[record.key].point not in families.space(FIRST, HARDWARE)
    records.write(path, without)
    assert path.read_text() == text, "what another version tuned is lost"
    with pytest.raises(bnn_compiler.errors.ScheduleError, match="no kernel family 'naive'"):
        Journal(tmp_path / "trials.jsonl", target)
