"""The schedules of families that keep a tile of outputs in registers over a whole reduction."""

from dataclasses import dataclass

from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class Tile(Point):
    """A tile of ``pixels`` along x times ``vectors`` of 16 outputs.

    ``word`` is the width of a popcount, of the vector that a table look-up fills, or of the factors
    of one product. ``order`` is the outer loop: "channels" goes through all rows with one block of
    weights, "rows" through all weights with one row; "strips" is "channels" with each part of the
    weights read once for a row of tiles. ``unroll`` is the number of reduction loops unrolled, from
    the inside.
    """

    pixels: int
    vectors: int
    word: int
    order: str = "channels"
    unroll: int = 0

    @property
    def tile(self) -> str:
        """Pixels x vectors."""
        return f"{self.pixels}x{self.vectors}"

    @property
    def lanes(self) -> int:
        """Output channels of one tile."""
        return self.vectors * LANES

    @property
    def in_lanes(self) -> int:
        """Steps that are unrolled because they read lanes of one vector (lanes.py), at most."""
        return 8 if self.word < 32 else 0

    def registers(self, bits: int, hardware: Hardware) -> tuple[float, float]:
        """Vectors of its accumulators, ``bits`` wide, and of the weights of one step."""
        per_vector = bits * LANES / hardware.vector_bits
        return self.pixels * self.vectors * per_vector, self.vectors * per_vector


def loads(accumulators: float, weights: float) -> float:
    """Loads of one step: each vector of weights, and each pixel once."""
    return weights + accumulators / weights
