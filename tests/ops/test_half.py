import numpy as np

from bnn_compiler.ops import half, reference
from bnn_compiler.ops.window import Window

RNG = np.random.default_rng(0)
WINDOW = Window((3, 3), (2, 1), (1, 0, 2, 1))


def test_weights_are_scaled_by_powers_of_two():
    w = RNG.normal(size=(4, 3, 3, 5)).astype(np.float32)
    w *= np.array([1e-12, 1, 3e7, 0], np.float32)[:, None, None, None]
    taps, scale = half.halves(w)
    assert taps.dtype == np.float16 and np.all(np.log2(scale) % 1 == 0)
    largest = np.abs(taps).max(axis=(1, 2, 3))
    assert np.all((largest[:3] >= 0.5) & (largest[:3] <= 1)) and not taps[3].any()
    # Rounded once: 11 bits of those that are not tiny next to the largest one.
    back = taps.astype(np.float64) * scale.astype(np.float64)[:, None, None, None]
    error = np.abs(back - w).max(axis=(1, 2, 3))
    assert np.all(error <= 2.0**-11 * np.abs(w).max(axis=(1, 2, 3)))


def test_small_integers_are_exact():
    x = RNG.integers(-30, 30, (2, 7, 6, 5)).astype(np.float32)
    w = RNG.integers(-9, 9, (4, 3, 3, 5)).astype(np.float32)
    wanted = reference.float_conv2d(x, w, WINDOW)
    assert np.array_equal(half.conv2d(x, w, WINDOW), wanted)
    scale, bias = np.array([1, -2, 0, 0.5], np.float32), np.arange(4, dtype=np.float32)
    pool = Window((2, 3), (2, 1), (1, 0, 0, 1))
    pooled = reference.max_pool2d(wanted * scale + bias, pool)
    assert np.array_equal(half.pooled_conv2d(x, w, scale, bias, WINDOW, pool), pooled)


def test_others_are_as_near_as_halves_are():
    x, w = (RNG.normal(size=s).astype(np.float32) for s in ((2, 7, 6, 64), (8, 3, 3, 64)))
    wanted = reference.float_conv2d(x, w, WINDOW)
    error = np.abs(half.conv2d(x, w, WINDOW) - wanted).max() / np.abs(wanted).max()
    assert 2.0**-16 < error < half.ROUNDING / 4
    # Beyond its range a half is infinite, as in PyTorch.
    x[0, 0, 0, 0] = 1e6
    assert np.isinf(half.conv2d(x, np.abs(w), WINDOW)[0, 0, 0]).all()
