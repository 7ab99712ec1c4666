"""rest="auto": which layers are taken, in which order, and what stops it."""

from types import SimpleNamespace

import numpy as np
import pytest

from bnn_compiler.errors import InputError
from bnn_compiler.passes.quantize_rest import Range
from bnn_compiler.quantization import pace
from bnn_compiler.quantization.choose import BEYOND, FASTER, SLOWER, choose
from bnn_compiler.quantization.forms import Effect

#: Of each layer on bytes: microseconds saved, flipped signs of 1000, changed classes of 100.
LAYERS = {
    "stem": (100, 10, 2),
    "shortcut": (50, 1, 1),
    "slow": (-5, 0, 0),
    "fc": (10, 0, 0),
}


class Made:
    """Forms whose effects add up; ``asked`` are those that were tried on samples."""

    def __init__(self, layers, shape=(1, 4), wide=()):
        self.layers, self.asked = layers, []
        ranges = tuple(Range(name, -1.0, 1.0) for name in layers)
        outputs = (np.zeros(shape, np.float32),)
        batches = (SimpleNamespace(count=100),)
        self.calibration = SimpleNamespace(ranges=ranges, batches=batches, outputs=outputs)
        self.prices = SimpleNamespace(about="a table")
        self._wide = wide

    def ranges(self, layers):
        return tuple(r for r in self.calibration.ranges if r.layer in layers)

    def seconds(self, layers):
        return 1e-3 - 1e-6 * sum(self.layers[n][0] for n in layers)

    def effects(self, forms, limit=np.inf, seen=lambda batches: None):
        self.asked += [tuple(f) for f in forms]
        seen(1)
        sums = ([sum(self.layers[n][i] for n in form) for i in (1, 2)] for form in forms)
        return [Effect(1000, flipped, changed / 100) for flipped, changed in sums]

    def plan(self, layers):
        calls = [SimpleNamespace(name=n, op="byte_conv2d") for n in self._wide]
        return SimpleNamespace(calls=calls)


def test_the_most_time_saved_for_a_sign_goes_first():
    found = choose(Made(LAYERS), 0.01)
    # 100 us for 1 % of the signs are less than 50 for 0.1 %, and than anything for none.
    assert [one.layer for one in found.layers] == ["fc", "shortcut", "stem", "slow"]
    assert [one.kind for one in found.layers] == ["int8", "int8", "float32", "float32"]
    assert [one.why for one in found.layers] == [FASTER, FASTER, BEYOND, SLOWER]
    assert [r.layer for r in found.ranges] == ["shortcut", "fc"]
    assert found.in_float == ("stem", "slow")
    assert found.changed == 0.01 and found.samples == 100
    assert found.seconds == pytest.approx(940e-6) and found.float_seconds == 1e-3
    shares = {one.layer: (one.changed, one.together) for one in found.layers}
    assert shares["stem"] == (0.02, 0.03) and shares["slow"] == (0.0, None)
    assert "2 of 4 layers run as int8: 0.940 ms" in "\n".join(found.lines())


def test_all_at_once_where_that_is_within_the_tolerance():
    made = Made(LAYERS)
    found = choose(made, 0.03)
    assert len(found.ranges) == 3 and found.changed == 0.03
    # Each alone, and then those that are faster together.
    assert [len(form) for form in made.asked] == [1, 1, 1, 1, 3]


def test_nothing_without_a_faster_layer():
    found = choose(Made({"slow": LAYERS["slow"]}), 1.0)
    assert not found.ranges and found.changed == 0 and found.seconds == found.float_seconds


def test_layers_of_byte_images_have_16_bits():
    found = choose(Made(LAYERS, wide=["stem"]), 0.01)
    assert {one.layer: one.kind for one in found.layers}["stem"] == "int16"


@pytest.mark.parametrize(
    ("made", "tolerance", "message"),
    [
        (Made(LAYERS), 1.5, "tolerance 1.5: give the share"),
        (Made(LAYERS), -0.1, "0 to 1"),
        (Made(LAYERS), float("nan"), "0 to 1"),
        (Made(LAYERS, (4, 1)), 0.1, r"first output is float32 \[4, 1\]"),
        (Made(LAYERS, (4,)), 0.1, r"--float LAYER"),
    ],
)
def test_what_cannot_be_chosen_by(made, tolerance, message):
    with pytest.raises(InputError, match=message):
        choose(made, tolerance)


def test_it_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(pace, "EVERY", 0.0)
    said = []
    choose(Made(LAYERS), 0.01, tell=said.append)
    assert [line.partition(", at most about ")[0] for line in said] == [
        *(f"choosing: the times of {n} of 4 layers" for n in range(1, 5)),
        "choosing: 4 layers alone, batch 1 of 1 of the samples",
        *(f"choosing: {n} of 3 layers tried together" for n in range(1, 4)),
    ]
    assert all(line.endswith(" s left") for line in said) and said[-1].endswith(" 0 s left")
    monkeypatch.undo()
    choose(Made(LAYERS), 0.01, tell=said.append)
    assert len(said) == 8, "what takes no time says nothing"
