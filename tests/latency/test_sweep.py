import numpy as np
import pytest

from bnn_compiler.errors import InputError
from bnn_compiler.latency import page, sweep
from bnn_compiler.latency.model import Prediction
from bnn_compiler.latency.sweep import Sweep


class Stairs:
    """Time grows with words of 32."""

    def predict(self, space, plans):
        seconds = np.array([1e-3 * -(-p["a"] // 32) for p in plans])
        return Prediction(seconds, 0.9 * seconds, 1.1 * seconds)


class Space:
    def __init__(self):
        self.groups = {"a": 100, "b": 1024}


def test_counts_below_the_end_of_a_step_are_dominated():
    found = sweep.sweep(Stairs(), Space(), "a", {"b": 3})
    assert found.channels == tuple(range(1, 101))
    good = [c for c, bad in zip(found.channels, found.dominated, strict=True) if not bad]
    assert good == [32, 64, 96, 100]
    assert [row[1] for row in found.rows()] == ["32", "64", "96", "100"]
    assert found.rows()[1][4] == "33..63" and found.rows()[3][2] == "4.000"
    assert found.as_dict()["dominated"] == list(found.dominated)


def test_a_large_group_is_looked_at_in_steps():
    class Wide(Stairs):
        def predict(self, space, plans):
            assert plans[0]["a"] == 7
            return super().predict(space, [{"a": p["b"]} for p in plans])

    found = sweep.sweep(Wide(), Space(), "b", {"a": 7})
    assert (
        found.channels[:2] == (4, 8) and found.channels[-1] == 1024 and len(found.channels) == 256
    )
    with pytest.raises(InputError, match=r"no group 'c'.*a, b"):
        sweep.sweep(Wide(), Space(), "c", {})


def test_the_page_and_the_picture(tmp_path):
    found = sweep.sweep(Stairs(), Space(), "a", {})
    page.write(found, "A <title>", "about", tmp_path / "s.html")
    text = (tmp_path / "s.html").read_text()
    assert "A &lt;title&gt;" in text and text.count("<circle") == 100
    assert text.count('class="dominated"') == 96 and "http" not in text.replace("www.w3.org", "")
    with pytest.raises(InputError, match="cannot write"):
        page.write(found, "t", "about", tmp_path)
    pytest.importorskip("matplotlib")
    page.write_png(found, "t", tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="cannot write"):
        page.write_png(found, "t", tmp_path)


def test_one_count_is_never_dominated():
    one = np.array([1e-3])
    assert Sweep("a", (5,), Prediction(one, one, one)).dominated == (False,)
