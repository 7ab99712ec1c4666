"""What a convolution computes, without its weights and without its schedule."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import tvm
from tvm import te, tirx

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.ops.storage import Storage
from bnn_compiler.ops.window import Window
from bnn_compiler.ops.winograd import TILE, Filtering


@dataclass(frozen=True)
class ConvWorkload:
    """One convolution: input layout, output [N,OH,OW,O], window, groups and pad value (binary).

    ``winograd`` computes it by minimal filtering, from an image that is stored as [N, C, H, W].
    """

    x: Layout
    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    pad_value: int = 0
    winograd: bool = False

    @property
    def is_binary(self) -> bool:
        """Whether the input is packed bits."""
        return self.x.storage is Storage.BITS

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padded taps counted."""
        per_output = self.x.shape[3] // self.groups * self.kernel[0] * self.kernel[1]
        return int(np.prod(self.shape)) * per_output

    @property
    def products(self) -> int:
        """Multiply-accumulates that are computed: fewer by minimal filtering."""
        if not self.winograd:
            return self.macs
        taps = self.kernel[0]
        return self.macs * len(Filtering(taps).slots) ** 2 // (TILE * taps) ** 2

    def tap(self) -> Callable[..., tuple[tvm.ir.Expr, tvm.ir.Expr]]:
        """(y, ky, x, kx) -> the stored row and column of a tap: padding lies inside the halo."""
        top, left, _, _ = self.x.halo
        oy, ox = top - self.padding[0], left - self.padding[1]
        assert oy >= 0 and ox >= 0, "the input's halo is smaller than the padding"
        (sh, sw), (dh, dw) = self.strides, self.dilation
        return lambda y, ky, x, kx: (y * sh + ky * dh + oy, x * sw + kx * dw + ox)

    @property
    def image_rows(self) -> tuple[int, int] | None:
        """Stored rows [first, last) of the image if kernel rows can fall outside it, else None.

        With a pad value other than 0 padding counts, so None too.
        """
        if self.pad_value or not (self.padding[0] or self.padding[2]):
            return None
        return self.x.halo[0], self.x.halo[0] + self.x.shape[1]

    def border_classes(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Class of each output row (axis 0) or column (1); the valid taps [classes, K] of each."""
        size, extent = self.shape[1 + axis], self.x.shape[1 + axis]
        first = np.arange(size)[:, None] * self.strides[axis] - self.padding[axis]
        at = first + np.arange(self.kernel[axis]) * self.dilation[axis]
        valid = (at >= 0) & (at < extent)
        patterns, index = np.unique(valid, axis=0, return_inverse=True)
        return index.reshape(-1).astype(np.int32), patterns


@dataclass(frozen=True)
class HalfWorkload(ConvWorkload):
    """One in half precision (ops/half.py), of an ``image`` that is stored as [N, C, H, W] or not.

    ``pool`` is nothing, or kernel, strides and padding of a max-pool behind it and its affine map:
    ``shape`` is the pool's then.
    """

    image: bool = False
    pool: tuple[int, ...] = ()

    @staticmethod
    def of(work: ConvWorkload, image: bool = False, pool: Window | None = None) -> "HalfWorkload":
        """The same as another one."""
        found = {f.name: getattr(work, f.name) for f in fields(ConvWorkload)}
        pooled = () if pool is None else (*pool.kernel, *pool.strides, *pool.padding)
        return HalfWorkload(**found, image=image, pool=pooled)

    @property
    def window(self) -> Window:
        """The convolution's."""
        return Window(self.kernel, self.strides, self.padding, self.dilation)

    @property
    def pooled(self) -> Window:
        """The pool's; of one element if there is none."""
        kh, kw, sh, sw, top, left, bottom, right = self.pool or (1, 1, 1, 1, 0, 0, 0, 0)
        return Window((kh, kw), (sh, sw), (top, left, bottom, right))

    @property
    def convolved(self) -> tuple[int, int]:
        """Rows and columns in front of the pool."""
        return self.window.size(*self.x.shape[1:3])

    @property
    def macs(self) -> int:
        """Of the convolution."""
        n, _, _, o = self.shape
        return int(np.prod((n, *self.convolved, o, *self.kernel, self.x.shape[3])))


def reduce_axes(**extents: int) -> tuple[tirx.IterVar, ...]:
    """One reduction axis for each name."""
    return tuple(te.reduce_axis((0, extent), name) for name, extent in extents.items())
