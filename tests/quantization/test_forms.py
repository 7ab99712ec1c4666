"""What a form of a network computes, and what it takes."""

import numpy as np
import pytest
import torch
from torch import nn
from tvm import relax

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.cost.price import Prices
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops import evaluate
from bnn_compiler.options import Options
from bnn_compiler.passes.quantize_rest import Range
from bnn_compiler.quantization import calibrate
from bnn_compiler.quantization.binary_forms import notes
from bnn_compiler.quantization.calibrate import Calibration
from bnn_compiler.quantization.forms import Forms
from bnn_compiler.quantization.forward import forward
from tests.test_int8 import LAYERS, images, trained


@pytest.fixture(scope="module")
def forms():
    network = Network.of(trained(), (images(1),))
    schedules = Schedules.load(targets.load("x86-64-v3"), cpu="")
    found = calibrate(network, Options(), images(4))
    return Forms(network, Options(), found, Prices(schedules))


def test_numpy_is_the_reference_within_rounding(forms):
    x = images(1, seed=5).numpy()
    graph = forms.network.fused(Options())
    exact = {v.name: a for v, a in evaluate.run(graph, [x]).items() if isinstance(a, np.ndarray)}
    near = forward(graph, [x])
    assert near.signs and {n for n, a in exact.items() if a.dtype == np.int8} == set(near.signs)
    for name, value in near.values.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(value, exact[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [("stem",), ("depthwise",), ("block_shortcut_1", "fc")])
def test_what_no_byte_has_touched_is_not_computed_again(forms, layers):
    x = images(1, seed=5).numpy()
    base = forward(forms.network.fused(Options()), [x])
    graph = forms.network.fused(Options(int8=forms.ranges(layers)))
    whole, part = forward(graph, [x]), forward(graph, [x], base.values)
    np.testing.assert_array_equal(part.outputs[0], whole.outputs[0])
    for name, value in whole.values.items():
        np.testing.assert_array_equal(part.values[name], value)
    kept = sum(part.values[n] is base.values.get(n) for n in part.values)
    # In front of the stem there is nothing.
    assert "stem" in layers or kept > 3


def test_kernels_of_several_outputs_are_not_computed_again(forms, monkeypatch):
    x, graph = images(1, seed=5).numpy(), forms.network.fused(Options())
    several = {v.tuple_value for v in graph.values.values() if isinstance(v, relax.TupleGetItem)}
    assert several, "a shortcut and its signs"
    base, ran = forward(graph, [x]), []
    run = evaluate.run_call
    monkeypatch.setattr(evaluate, "run_call", lambda *a: ran.append(a[0]) or run(*a))
    again = forward(graph, [x], base.values)
    assert not ran
    np.testing.assert_array_equal(again.outputs[0], base.outputs[0])


def test_effects(forms):
    names = [r.layer for r in forms.calibration.ranges]
    assert set(names) == LAYERS
    effects = dict(zip(names, forms.effects([(n,) for n in names]), strict=True))
    # No sign stands behind the classifier, all of them behind the stem.
    assert effects["fc"].signs == 0 and effects["fc"].share == 0
    assert effects["stem"].signs > effects["depthwise"].signs > 0
    coarse = Calibration(
        tuple(Range(r.layer, -200.0, 200.0) for r in forms.calibration.ranges),
        forms.calibration.batches,
        forms.calibration.outputs,
    )
    worse = Forms(forms.network, forms.options, coarse, forms.prices)
    (bad,) = worse.effects([("stem",)])
    assert bad.share > 3 * effects["stem"].share
    assert bad.signs == effects["stem"].signs


def test_changed_classes_are_the_networks(forms):
    """Of the form that is compiled, by the reference."""
    (effect,) = forms.effects([("stem",)])
    base, form = (
        forms.network.fused(Options(int8=forms.ranges(layers))) for layers in ((), ("stem",))
    )
    classes = [
        [int(np.argmax(forward(g, b.inputs).outputs[0])) for b in forms.calibration.batches]
        for g in (base, form)
    ]
    assert effect.changed == np.mean(np.not_equal(*classes))


def test_prices(forms):
    """VNNI and NEON's dot multiply four times as many bytes as floats; AVX2 hardly more."""
    saved = {}
    for target in ("x86-64-v3", "x86-avx512-vpopcnt", "cortex-a76"):
        prices = Prices(Schedules.load(targets.load(target), cpu=""))
        other = Forms(forms.network, Options(), forms.calibration, prices)
        saved[target] = 1 - other.seconds(("stem",)) / other.seconds(())
        assert prices.about == "counted cycles"
    assert min(saved["x86-avx512-vpopcnt"], saved["cortex-a76"]) > 2 * saved["x86-64-v3"]


def test_a_record_of_this_cpu_is_the_price():
    schedules = Schedules.load(targets.load("x86-avx512-vpopcnt"), cpu="znver4")
    record = next(r for r in schedules.shipped.values() if r.cpu == "znver4")
    prices = Prices(schedules)
    assert prices.task(record.task).source == "record"
    assert prices.task(record.task).seconds == pytest.approx(record.seconds, rel=0.5)
    assert prices.about == "records of znver4"
    # Cycles of a CPU that records know are as long as theirs.
    assert 1e-10 < prices.pace < 2e-9
    elsewhere = Prices(Schedules.load(targets.load("x86-avx512-vpopcnt"), cpu="sapphirerapids"))
    assert elsewhere.task(record.task).source == "cycles"


def test_binary_layers_that_another_form_might_beat():
    """Three channels fill a tenth of a word."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), Sign(), BinaryConv2d(3, 64, 3), nn.BatchNorm2d(64),
        Sign(), BinaryConv2d(64, 64, 3),
    ).eval()  # fmt: skip
    network = Network.of(model, (torch.randn(1, 3, 16, 16),))
    schedules = Schedules.load(targets.load("x86-avx512-vpopcnt"), cpu="")
    network_forms = Forms(network, Options(), Calibration((), (), ()), Prices(schedules))
    lines = notes(network_forms.plan(()), Prices(schedules))
    assert all(line.startswith("2: as ") for line in lines), lines
