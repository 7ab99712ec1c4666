import dataclasses

import numpy as np
import pytest

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import InputError, ScheduleError
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.latency import LatencyModel, model
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.table import Table
from tests.latency import machine


@pytest.fixture(scope="module")
def fitted():
    return LatencyModel.fit(machine.samples(40), machine.SCHEDULES, "a made-up CPU")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No model lies anywhere."""
    monkeypatch.setattr(model, "calibrated", lambda t: tmp_path / "own" / f"{t.name}.ubj")
    monkeypatch.setattr(model, "shipped", lambda t: tmp_path / "shipped" / f"{t.name}.ubj")
    return tmp_path


def test_networks_it_never_saw(fitted):
    asked = machine.samples(60, seed=5)
    found = fitted.predict_kernels([s.kernels for s in asked])
    # Corrected for slow minutes: the reference took 1 ms in two thirds of them.
    truth = np.array([s.seconds * 1e-3 / s.reference for s in asked])
    missed = np.abs(found.seconds / truth - 1)
    assert missed.mean() < 0.03 and (missed < 0.1).all()
    assert 0.65 < ((found.low <= truth) & (truth <= found.high)).mean() < 0.97
    assert fitted.about.error == pytest.approx(missed.mean(), abs=0.02)
    assert fitted.about.programs == 40 and fitted.about.reference == 1e-3


def test_a_batch_is_what_each_is_alone(fitted):
    networks = [s.kernels for s in machine.samples(5, seed=6)]
    networks.append(networks[0][:3])
    together = fitted.predict_kernels(networks)
    for i, kernels in enumerate(networks):
        # Equal kernels, not the same objects.
        copies = tuple(dataclasses.replace(k) for k in kernels)
        alone = fitted.predict_kernels([copies])
        for of_all, of_one in zip(together, alone, strict=True):
            assert of_all[i] == pytest.approx(of_one[0], rel=1e-12)


def test_what_it_forgets_it_learns_again(fitted, monkeypatch):
    networks = [s.kernels for s in machine.samples(5, seed=7)]
    before = fitted.predict_kernels(networks).seconds
    monkeypatch.setattr(model, "_MOST_KERNELS", 3)
    np.testing.assert_array_equal(fitted.predict_kernels(networks).seconds, before)
    np.testing.assert_array_equal(fitted.predict_kernels(networks).seconds, before)


def test_a_space_is_asked_for_its_kernels(fitted):
    def kernels(count):
        return [machine.to_nhwc(32), machine.conv(count, 14, 64)]

    class Space:
        def tables(self, plans):
            for rows in ([0, 2], [1]):
                found = [k for row in rows for k in kernels(plans[row]["a"])]
                yield Table(np.array(rows), found, np.arange(len(found)).reshape(-1, 2))

    found = fitted.predict(Space(), [{"a": 32}, {"a": 150}, {"a": 63}])
    assert found.low[0] < found.seconds[0] < found.high[0] < found.low[1]
    alone = fitted.predict_kernels([kernels(32), kernels(150), kernels(63)])
    np.testing.assert_allclose(found.seconds, alone.seconds, rtol=1e-12)
    assert len(fitted.predict(Space(), []).seconds) == 0


def test_it_explains_every_kernel(fitted):
    kernels = machine.samples(1, seed=8)[0].kernels
    rows = fitted.explain(kernels)
    assert [r.name for r in rows] == [k.name for k in kernels]
    whole = float(fitted.predict_kernels([kernels]).seconds[0])
    assert sum(r.seconds for r in rows) == pytest.approx(whole)
    assert (rows[0].source, rows[1].source) == ("fixed", "rule")
    assert "to_nhwc" in rows[0].what and "binary 3x3" in rows[1].what


def test_unknown_kernels_and_empty_networks_are_errors(fitted):
    x = Layout((1, 4, 4, 16), "float32")
    odd = Kernel("layer7", "fft", PlainTask("fft", (x,)), (x,), (x,))
    with pytest.raises(ScheduleError, match=r"layer7.*'fft'"):
        fitted.predict_kernels([(machine.to_nhwc(32), odd)])
    with pytest.raises(InputError, match="without kernels"):
        fitted.predict_kernels([()])
    with pytest.raises(ScheduleError, match="at least two"):
        LatencyModel.fit(machine.samples(1), machine.SCHEDULES, "CPU")


def test_a_file_predicts_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "m.ubj")
    again = model.read(tmp_path / "m.ubj", machine.SCHEDULES)
    networks = [s.kernels for s in machine.samples(3, seed=9)]
    for a, b in zip(
        again.predict_kernels(networks),
        fitted.predict_kernels(networks),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert again.about == fitted.about
    with pytest.raises(ScheduleError, match="of x86-64-v3, not of x86-64-v4"):
        model.read(tmp_path / "m.ubj", Schedules(targets.load("x86-64-v4")))
    whole = (tmp_path / "m.ubj").read_bytes()
    for damaged in (b"", whole[:-1], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], b"{}"):
        (tmp_path / "m.ubj").write_bytes(damaged)
        with pytest.raises(ScheduleError, match=r"not a latency model.*bnnc calibrate"):
            model.read(tmp_path / "m.ubj", machine.SCHEDULES)
    (tmp_path / "file").write_text("")
    with pytest.raises(ScheduleError, match="cannot write"):
        fitted.save(tmp_path / "file" / "m.ubj")


def test_the_users_own_goes_before_the_shipped_one(fitted, nowhere):
    target = machine.TARGET
    with pytest.raises(ScheduleError, match=r"no latency model of x86-64-v3.*bnnc calibrate"):
        LatencyModel.load(target)
    for about in ("shipped", "own"):
        named = dataclasses.replace(fitted, about=dataclasses.replace(fitted.about, cpu=about))
        named.save(getattr(model, {"own": "calibrated"}.get(about, about))(target))
        assert LatencyModel.load(target).about.cpu == about


@pytest.mark.parametrize("name", [n for n in targets.names() if targets.load(n).arch == "aarch64"])
def test_arm_is_predicted_from_cycles_and_says_so(nowhere, name):
    found = LatencyModel.load(name)
    assert not found.about.measured and "predicted, no board" in found.about.text
    small, large = (
        (machine.to_nhwc(32), machine.conv(c, 28, c, dtype="uint32")) for c in (64, 256)
    )
    times = found.predict_kernels([small, large])
    assert 1e-6 < times.seconds[0] < times.seconds[1] < 1
    assert times.high[0] == pytest.approx(1.5 * times.seconds[0])
