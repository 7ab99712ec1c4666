import numpy as np
import pytest

from bnn_compiler.ops import reference
from bnn_compiler.ops.window import Window
from bnn_compiler.ops.winograd import TILE, Filtering, winograd_conv2d


def exact(x, w, window):
    """The convolution in float64."""
    padded, oh, ow = reference.windows(x.astype(np.float64), window, 0.0)
    taps = [(i, j) for i in range(w.shape[1]) for j in range(w.shape[2])]
    return sum(window.tap(padded, i, j, oh, ow) @ w[:, i, j].T.astype(np.float64) for i, j in taps)


def case(taps, padding, size=(16, 24), channels=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, channels)).astype(np.float32)
    w = rng.normal(size=(8, taps, taps, channels)).astype(np.float32)
    return x, w, Window((taps, taps), (2, 2), padding)


@pytest.mark.parametrize("taps", [3, 5, 7])
def test_transforms_are_the_identity(taps):
    """Output rows, weights and input rows multiply to the taps of a strided convolution."""
    f = Filtering(taps)
    product = np.zeros((TILE, taps, f.patch))
    for k, row in enumerate(f.output_rows):
        for weights, inputs, s in zip(f.weight_matrix, f.input_rows, f.slots, strict=True):
            placed = np.zeros(f.patch)
            placed[s.phase :: 2] = inputs
            product[k] += row[s.point] * np.outer(weights, placed)
    wanted = [[[i == 2 * k + t for i in range(f.patch)] for t in range(taps)] for k in range(TILE)]
    np.testing.assert_allclose(product, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("taps", "padding"),
    [(7, (3, 3, 3, 3)), (7, (4, 1, 1, 4)), (5, (2, 2, 2, 2)), (3, (1, 1, 0, 0))],
)
def test_rounding_is_that_of_float32(taps, padding):
    """Twice the error of the sum in sequence, and 2^-20 of the sum of |w x|."""
    x, w, window = case(taps, padding)
    wanted = exact(x, w, window)
    found = np.abs(winograd_conv2d(x, w, window) - wanted)
    direct = np.abs(reference.float_conv2d(x, w, window) - wanted)
    assert np.sqrt((found**2).mean()) <= 2 * np.sqrt((direct**2).mean())
    assert (found <= 2.0**-20 * exact(np.abs(x), np.abs(w), window)).all()


def test_products_per_output():
    assert [len(Filtering(k).slots) for k in (3, 5, 7)] == [5, 7, 9]
