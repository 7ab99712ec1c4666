"""A window that slides over an image: of a convolution or of a pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """Kernel, strides and dilation as (h, w), padding as (top, left, bottom, right), groups."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @staticmethod
    def of(attrs: Any, kernel: Sequence[int] | None = None) -> "Window":
        """From the attributes of a bnn operator or of one of Relax's own.

        ``kernel`` is given where it is no attribute of that name: weights have its size.
        """
        kh, kw = (int(v) for v in (attrs["kernel"] if kernel is None else kernel))
        (sh, sw), (dh, dw) = ([int(v) for v in attrs[k]] for k in ("strides", "dilation"))
        top, left, bottom, right = (int(v) for v in attrs["padding"])
        groups = int(getattr(attrs, "groups", 1))
        return Window((kh, kw), (sh, sw), (top, left, bottom, right), (dh, dw), groups)

    def attrs(self) -> dict[str, list[int]]:
        """The attributes of a bnn operator, without its groups."""
        return {
            "kernel": list(self.kernel),
            "strides": list(self.strides),
            "padding": list(self.padding),
            "dilation": list(self.dilation),
        }

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Output (h, w) on an image of ``height`` rows and ``width`` columns."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.strides, self.dilation
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - dh * (kh - 1) - 1) // sh + 1,
            (width + left + right - dw * (kw - 1) - 1) // sw + 1,
        )

    def tap(self, x: NDArray[Any], ky: int, kx: int, oh: int, ow: int) -> NDArray[Any]:
        """The slice of padded ``x`` that tap (ky, kx) sees, one element per output position."""
        y0, x0 = ky * self.dilation[0], kx * self.dilation[1]
        sh, sw = self.strides
        return x[:, y0 : y0 + sh * (oh - 1) + 1 : sh, x0 : x0 + sw * (ow - 1) + 1 : sw]
