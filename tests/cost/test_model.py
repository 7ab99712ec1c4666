import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import features, model, sealed
from bnn_compiler.cost.model import CostModel, Sample
from bnn_compiler.errors import ScheduleError
from tests.kernels import kernel

HARDWARE = targets.load("x86-64-v3").hardware
TASKS = [kernel.task(c, 8, c) for c in (32, 64, 96, 128, 192, 256)]


def samples():
    """Times made of the features, so that there is something to learn."""
    found = []
    for task in TASKS:
        points = families.space(task, HARDWARE)[::3]
        x, rough = features.matrix(task, points, HARDWARE)
        slow = 1 + x[:, features.NAMES.index("pressure")] + (x[:, features.NAMES.index("unroll")])
        found += [
            Sample(task, p, float(s)) for p, s in zip(points, 1e-9 * rough * slow, strict=True)
        ]
    return found


def test_features_are_finite_and_tell_families_apart():
    for task in (
        *TASKS,
        kernel.task(3, 8, 64, dtype="float32"),
        kernel.task(3, 8, 64, dtype="int16"),
    ):
        points = families.space(task, HARDWARE)
        x, rough = features.matrix(task, points, HARDWARE)
        assert x.shape == (len(points), len(features.NAMES))
        assert np.isfinite(x).all() and (rough > 0).all()
        assert len(np.unique(x, axis=0)) == len(points), "two schedules look the same"


def test_learns_and_survives_saving(tmp_path):
    fitted = CostModel.fit(samples(), HARDWARE)
    task = TASKS[2]
    points = families.space(task, HARDWARE)
    path = tmp_path / "m.ubj"
    fitted.save(path)
    loaded = model.load(path, HARDWARE)
    assert loaded is not None
    assert np.array_equal(loaded.predict(task, points), fitted.predict(task, points))
    assert fitted.best(task) == points[int(fitted.predict(task, points).argmin())]


def test_cross_validation_sees_only_other_workloads():
    quality = model.cross_validate(samples(), HARDWARE)
    assert quality.tasks == len(TASKS)
    assert quality.rank > 0.8 and quality.error < 0.2 and quality.pick < 1.1
    with pytest.raises(ScheduleError, match="at least two workloads"):
        model.cross_validate([s for s in samples() if s.task == TASKS[0]], HARDWARE)


def test_foreign_files(tmp_path):
    assert model.load(tmp_path / "none.ubj", HARDWARE) is None
    bad = tmp_path / "bad.ubj"
    older = CostModel.fit(samples(), HARDWARE)._trees.contents
    for foreign in (b"nonsense", b"", older):
        bad.write_bytes(foreign)
        with pytest.raises(ScheduleError, match=r"bad\.ubj is not a cost model: .*bnnc tune"):
            model.load(bad, HARDWARE)
    sealed.write(bad, b"nonsense")
    with pytest.raises(ScheduleError, match=r"bad\.ubj is not a cost model: .*bnnc tune"):
        model.load(bad, HARDWARE)


def test_no_damaged_model_reaches_xgboost(tmp_path):
    path = tmp_path / "m.ubj"
    CostModel.fit(samples(), HARDWARE).save(path)
    whole = path.read_bytes()
    bits = np.random.default_rng(0).integers(0, 8 * len(whole), 400)
    for bit in [*range(0, 8 * 64, 3), *bits.tolist()]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ScheduleError, match="not a cost model"):
            model.load(path, HARDWARE)
    for size in (1, 8, 39, 40, 41, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ScheduleError, match="not a cost model"):
            model.load(path, HARDWARE)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ScheduleError, match="not a cost model"):
        model.load(path, HARDWARE)


def test_models_of_several_cpus_lie_side_by_side(tmp_path):
    records = tmp_path / "a.b.jsonl"
    fitted = CostModel.fit(samples(), HARDWARE)
    for cpu in ("", "znver4"):
        fitted.save(model.beside(records, cpu))
    fitted.save(model.beside(tmp_path / "a.jsonl", "znver1"))
    assert set(model.all_beside(records, HARDWARE)) == {"", "znver4"}
    assert model.beside(records, "znver4").name == "a.b.znver4.model.ubj"
    points = model.best_of_each([fitted, fitted], TASKS)
    assert points == model.best_of_each([fitted], TASKS)
