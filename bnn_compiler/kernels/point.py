"""A schedule of a convolution as data, and the points a space is made of."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bnn_compiler.kernels.layout import LANES


@dataclass(frozen=True)
class Point:
    """One schedule.

    ``family`` is the kernel (families.py). A tile of ``pixels`` along x times ``vectors`` of 16
    outputs stays in registers over the whole reduction. ``word`` is the width of a popcount, or of
    the vector that a table look-up fills. ``order`` is the outer loop: "channels" goes through all
    rows with one block of weights, "rows" through all weights with one row; "strips" is "channels"
    with each part of the weights read once for a row of tiles. ``unroll`` is the
    number of reduction loops unrolled, from the inside.
    """

    family: str
    pixels: int
    vectors: int
    word: int
    order: str = "channels"
    unroll: int = 0

    @property
    def lanes(self) -> int:
        """Output channels of one tile."""
        return self.vectors * LANES

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as in records and manifests."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Point":
        """The inverse. Raises TypeError for a field too many or too few, or of another type."""
        point = Point(**data)
        numbers = (point.pixels, point.vectors, point.word, point.unroll)
        if any(type(v) is not int for v in numbers) or type(point.order) is not str:
            raise TypeError(f"not a schedule: {point}")
        return point


#: Instructions of an unrolled body beyond which LLVM takes long and the code leaves the caches.
_BODY = 1024


def unrolls(accumulators: float, trip: int) -> tuple[int, ...]:
    """Whether to unroll an innermost reduction of ``trip`` steps: 0, or 0 and 1."""
    return (0, 1) if accumulators * trip <= _BODY else (0,)


def tiles(width: int, vectors: int, budget: int) -> Iterator[tuple[int, int]]:
    """(pixels, vectors) that divide a row and a group's vectors, at most ``budget`` of them."""
    for pixels in range(1, min(width, budget) + 1):
        for block in range(1, min(vectors, budget) + 1):
            if width % pixels == 0 and vectors % block == 0 and pixels * block <= budget:
                yield pixels, block
