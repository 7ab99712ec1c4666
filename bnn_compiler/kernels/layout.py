"""How a tensor lies in memory.

Activations are NHWC with a halo: ``halo`` = (top, left, bottom, right) rows and columns around
the image that hold the padding value of the convolutions that read it. Float channels are padded
to a multiple of 16 (one AVX-512 vector, one NEON cache line), so that no kernel has a channel
tail; bit channels are padded to words of 32. Padded float lanes hold any finite number and are
never mixed with real ones; padded bits are 0.
"""

from dataclasses import dataclass, replace

from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.storage import Storage

LANES = 16


@dataclass(frozen=True)
class Layout:
    """Logical shape [N, H, W, C], dtype and halo; ``dense`` channels are not padded."""

    shape: tuple[int, int, int, int]
    dtype: str
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    dense: bool = False

    @property
    def storage(self) -> Storage:
        """What kind of number it holds."""
        return Storage(self.dtype)

    @property
    def channels(self) -> int:
        """Elements (floats or words) per pixel."""
        c = self.shape[3]
        if self.storage is Storage.BITS:
            return ceil_div(c, self.storage.channels)
        return c if self.dense else round_up(c, LANES)

    @property
    def has_half_word(self) -> bool:
        """Whether no kernel stores the last 16 bits of a pixel."""
        return self.storage is Storage.BITS and ceil_div(self.shape[3], 16) % 2 == 1

    @property
    def physical(self) -> tuple[int, int, int, int]:
        """The stored shape, halo included."""
        n, h, w, _ = self.shape
        top, left, bottom, right = self.halo
        return n, h + top + bottom, w + left + right, self.channels

    @property
    def bytes(self) -> int:
        """Stored size."""
        n, h, w, c = self.physical
        return self.itemsize * n * h * w * c

    @property
    def itemsize(self) -> int:
        """Bytes of a stored element."""
        return self.storage.itemsize

    @property
    def interior(self) -> int:
        """Byte offset of the first pixel inside the halo."""
        _, _, w, c = self.physical
        return self.itemsize * c * (self.halo[0] * w + self.halo[1])

    def of_batch(self, count: int) -> "Layout":
        """The same for ``count`` images."""
        return replace(self, shape=(count, *self.shape[1:]))

    def whole(self) -> "Layout":
        """With the channels that fill what it stores: whole vectors, or half words of bits."""
        n, h, w, c = self.shape
        return self if self.dense else replace(self, shape=(n, h, w, round_up(c, LANES)))

    def strides(self, per_word: int = 1) -> list[int]:
        """Element strides of the interior; ``per_word`` elements per stored one (2 for uint16)."""
        _, h, w, c = self.physical
        c *= per_word
        return [h * w * c, w * c, c, 1]
