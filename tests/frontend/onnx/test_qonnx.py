"""QONNX's operators: the translation and the evaluator's meaning, each against the document."""

import numpy as np
import pytest
import torch

from bnn_compiler.errors import ModelError, UnsupportedError
from bnn_compiler.frontend.onnx import qonnx, reference
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.translate import translate
from tests.frontend.onnx.graphs import images, single

F = np.float32
#: The table of rounding modes in QONNX's document.
NUMBERS = [5.5, 2.5, 1.6, 1.1, 1.0, -1.0, -1.1, -1.6, -2.5, -5.5]
MODES = {
    "ROUND": [6, 2, 2, 1, 1, -1, -1, -2, -2, -6],
    "CEIL": [6, 3, 2, 2, 1, -1, -1, -1, -2, -5],
    "FLOOR": [5, 2, 1, 1, 1, -1, -2, -2, -3, -6],
    "UP": [6, 3, 2, 2, 1, -1, -2, -2, -3, -6],
    "DOWN": [5, 2, 1, 1, 1, -1, -1, -1, -2, -5],
    "HALF_UP": [6, 3, 2, 1, 1, -1, -1, -2, -3, -6],
    "HALF_DOWN": [5, 2, 2, 1, 1, -1, -1, -2, -2, -5],
}


def both(operator, *arrays, domain=qonnx.DOMAINS[0], **attributes):
    """What the translation computes, which is also what the evaluator does."""
    known = range(1, len(arrays))
    proto, (x,) = single(operator, arrays, known, domain=domain, **attributes)
    tensor = torch.from_numpy(x)
    found = translate(read(proto), [tensor])(tensor)[0].numpy()
    meant = reference.values(read(proto), [x], (reference.by_evaluator,))["y0"]
    assert found.dtype == meant.dtype
    np.testing.assert_allclose(found, meant, rtol=1e-6, atol=1e-7)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_rounding_modes(mode):
    x = np.array(NUMBERS, F)
    for name in (mode, mode.lower()):
        found = both("Quant", x, F(1), F(0), F(8), rounding_mode=name)
        assert found.tolist() == MODES[mode]


@pytest.mark.parametrize(
    ("signed", "narrow", "bits", "levels"),
    [(1, 0, 8, (-128, 127)), (1, 1, 8, (-127, 127)), (0, 0, 8, (0, 255)), (0, 1, 8, (0, 254)),
     (1, 0, 2, (-2, 1)), (1, 1, 2, (-1, 1)), (0, 0, 1, (0, 1)), (1, 0, 1, (-1, 0)),
     (0, 0, 12, (0, 4095)), (1, 0, 20, (-524288, 524287))],
)  # fmt: skip
@pytest.mark.parametrize("domain", qonnx.DOMAINS)
def test_ranges(signed, narrow, bits, levels, domain):
    x = images(60) * F(2.0 ** (bits + 1))
    x[:2] = 1e7, -1e7
    found = both("IntQuant", x, F(0.5), F(0), F(bits), signed=signed, narrow=narrow, domain=domain)
    assert (found[0], found[1]) == (levels[1] * 0.5, levels[0] * 0.5)


def test_zero_points_and_channels():
    x = images(2, 3, 4, 4)
    both("Quant", x, F(0.1), F(3), F(4), signed=0)
    both("Quant", x, F(0.1), F(0.5), F(4))
    scales = np.array([0.1, 0.2, 0.3], F).reshape(1, 3, 1, 1)
    both("Quant", x, scales, F(0), F(4))
    both("Quant", x, scales, np.zeros_like(scales), F(1), signed=0)


def test_one_bit_at_its_edge():
    x = np.array([-0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5], F)
    assert both("Quant", x, F(0.5), F(0), F(1), signed=0).tolist() == [0, 0, 0, 0, 0, 0, 0.5]
    assert both("Quant", x, F(0.5), F(0), F(1)).tolist() == [-0.5, 0, 0, 0, 0, 0, 0]


def test_bipolar_is_plus_at_zero():
    x = np.array([-2, -0.0, 0.0, 3], F)
    assert np.allclose(both("BipolarQuant", x, F(0.5)), [-0.5, 0.5, 0.5, 0.5])
    channels = np.array([1, 2, 3, 4], F)
    assert np.allclose(both("BipolarQuant", x, channels), [-1, 2, 3, 4])


def test_truncation_of_both_versions():
    x = np.array([0, 1, 5, 7.5, -3, 12], F)
    assert both("Trunc", x, F(0.5), F(0), F(8), F(6)).tolist() == [0, 0, 1, 1.5, -1, 3]
    old = both("Trunc", x, F(0.5), F(0), F(8), F(6), rounding_mode="ROUND")
    assert old.tolist() == [0, 0, 1, 2, -1, 3]
    new = both("Trunc", x, F(0.5), F(0), F(8), F(2), F(3), version=2)
    assert new.tolist() == [0, 0, 4, 6, -4, 6]


def test_what_a_quantiser_cannot_be():
    with pytest.raises(ModelError, match=r"a bit width of 2\.5"):
        both("Quant", images(3), F(1), F(0), F(2.5))
    with pytest.raises(UnsupportedError, match="rounding_mode 'ODD'; known: ROUND"):
        both("Quant", images(3), F(1), F(0), F(2), rounding_mode="ODD")
