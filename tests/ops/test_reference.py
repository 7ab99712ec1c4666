import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_compiler.ops import reference
from bnn_compiler.ops.window import Window

FLOATS = st.floats(-(2.0**40), 2.0**40, width=32)


@given(a=FLOATS, b=FLOATS, c=FLOATS)
@settings(max_examples=500)
def test_fma_rounds_once(a, b, c):
    from fractions import Fraction

    exact = Fraction(a) * Fraction(b) + Fraction(c)
    found = reference.fma(*(np.array([v], np.float32) for v in (a, b, c)))[0]
    neighbours = [np.nextafter(found, np.float32(d)) for d in (-np.inf, np.inf)]
    error = abs(Fraction(float(found)) - exact)
    assert all(error <= abs(Fraction(float(n)) - exact) for n in neighbours if np.isfinite(n))


def test_binary_convolution_is_torchs_on_integers():
    rng = np.random.default_rng(0)
    x = rng.choice([-1, 1], (2, 7, 6, 12)).astype(np.int8)
    w = rng.choice([-1, 1], (8, 3, 2, 3)).astype(np.int8)
    for pad_value in (-1, 0, 1):
        window = Window((3, 2), (2, 1), (1, 0, 2, 1), (1, 2), 4)
        padded = F.pad(
            torch.from_numpy(x).permute(0, 3, 1, 2).double(), (0, 1, 1, 2), value=pad_value
        )
        kernel = torch.from_numpy(w).permute(0, 3, 1, 2).double()
        wanted = F.conv2d(padded, kernel, stride=(2, 1), dilation=(1, 2), groups=4)
        found = reference.binary_conv2d(x, w, window, pad_value)
        np.testing.assert_array_equal(found, wanted.permute(0, 2, 3, 1).numpy())


def test_pools_are_torchs():
    x = torch.randn(2, 5, 9, 8)
    nhwc = x.permute(0, 2, 3, 1).numpy()
    window = Window((3, 3), (2, 2), (1, 1, 1, 1))
    largest = reference.max_pool2d(nhwc, window)
    wanted = F.max_pool2d(x, 3, 2, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(largest, wanted)
    for counted in (True, False):
        mean = F.avg_pool2d(x, 3, 2, 1, count_include_pad=counted).permute(0, 2, 3, 1).numpy()
        found = reference.avg_pool2d(nhwc, window, counted)
        np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-6)
