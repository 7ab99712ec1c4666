"""What a kernel can reach: its indices have 32 bits."""

from collections.abc import Iterable

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.ops.storage import Storage
from bnn_compiler.plan.program import Buffer

#: Elements of a tensor. Tiles reach beyond its end, by less than 2^24.
MOST = (1 << 31) - (1 << 24)


def elements(layout: Layout) -> int:
    """What is indexed in a tensor, its halo included: numbers, or half words of bits."""
    return layout.bytes // (2 if layout.storage is Storage.BITS else layout.itemsize)


def check(used: Iterable[tuple[str, Buffer]]) -> None:
    """Raise UnsupportedError for too large a tensor of those that layers, by name, use; it says
    which batch can be.
    """
    for name, buffer in used:
        found, shape = elements(buffer.layout), buffer.layout.shape
        if found <= MOST:
            continue
        fits = MOST // (found // shape[0])
        way = (
            f"compile it for a batch of at most {fits}, and run larger ones in parts"
            if 0 < fits < shape[0]
            else "its images are too large"
        )
        raise UnsupportedError(
            f"{name}: a tensor of {'x'.join(map(str, shape))} is {found} elements as"
            f" it is stored, more than the {MOST} that a kernel can index; {way}"
        )
