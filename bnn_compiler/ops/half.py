"""Float convolutions on half-precision operands: what --allow-reorder lets a GPU's tensor cores do.

Image and weights are rounded once to float16, the weights after a power of two for each output
channel that makes the largest of them nearly 1. Products are exact, and float32 sums of them run in
an order that is the kernel's. Activations beyond float16's largest, 65504, are infinite.
"""

import numpy as np

from bnn_compiler.ops import reference
from bnn_compiler.ops.reference import Float
from bnn_compiler.ops.window import Window

#: What rounding of both operands may move a value by, as a share of the largest one: errors of
#: 2^-11 of each factor that do not add up.
ROUNDING = 2.0**-9
#: What the order of its float32 sums may, likewise.
ORDER = 2.0**-14
#: The operators whose sums are these.
NAMES = ("half_conv2d", "half_image_conv2d", "half_pooled_conv2d")


def halves(w: Float) -> tuple[np.ndarray, Float]:
    """Finite weights [O, KH, KW, C] as float16 and the scale [O] to multiply sums of them by."""
    largest = np.abs(w).max(axis=(1, 2, 3), initial=0.0)
    _, exponent = np.frexp(np.where(largest > 0, largest, 1))
    # Beyond, powers of two would not be float32 numbers of full precision.
    exponent = np.clip(exponent, -100, 100)
    scaled = np.ldexp(w, -exponent[:, None, None, None])
    return scaled.astype(np.float16), np.ldexp(np.float32(1), exponent).astype(np.float32)


def conv2d(x: Float, w: Float, window: Window) -> Float:
    """float32 [N, OH, OW, O] of an image [N, H, W, C]; the sums are those of float64, rounded."""
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float16).astype(np.float64)
    taps, scale = halves(w)
    padded, oh, ow = reference.windows(rounded, window, 0.0)
    total = np.zeros((x.shape[0], oh, ow, len(w)))
    with np.errstate(all="ignore"):
        for ky in range(w.shape[1]):
            for kx in range(w.shape[2]):
                # Not by a library: a product of matrices has other NaNs.
                total += window.tap(padded, ky, kx, oh, ow) @ taps[:, ky, kx].astype(np.float64).T
        return total.astype(np.float32) * scale


def pooled_conv2d(
    x: Float, w: Float, scale: Float, bias: Float, window: Window, pool: Window
) -> Float:
    """The largest of ``pool``'s windows of fma(convolution, scale, bias)."""
    return reference.max_pool2d(reference.fma(conv2d(x, w, window), scale, bias), pool)
