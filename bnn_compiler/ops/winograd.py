"""Strided float convolution by minimal filtering: fewer products, a defined order of its own.

S. Winograd, "Arithmetic Complexity of Computations" (1980); for layers of neural networks A. Lavin
and S. Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). With a stride of 2 the
image is split in even and odd rows and columns first: a 7x7 kernel becomes kernels of 4 and 3 taps
per direction, and F(2, 4) and F(2, 3) make 2x2 outputs of 9 * 9 products a channel instead of
4 * 49.

Along one direction, for a kernel of K taps: tap k reads phase k % 2. Both phases are evaluated at
the points 0, 1, -1, ... and infinity; the even one, a tap longer, at one point more, which comes
last. A product is the one of a *slot* (phase, point); the sums of both phases at a point are added
before they are transformed back, so that happens once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

import numpy as np

from bnn_compiler.ops import reference
from bnn_compiler.ops.reference import Float
from bnn_compiler.ops.window import Window

#: Outputs of a tile, along each direction.
TILE = 2
STRIDE = 2
_POINTS = (0, 1, -1, 2)

T = TypeVar("T")
Row = tuple[int, ...]


@dataclass(frozen=True)
class Slot:
    """One product along a direction: the phase (0 even, 1 odd) and the point's index."""

    phase: int
    point: int


@dataclass(frozen=True)
class Filtering:
    """The transforms for ``taps`` (3, 5 or 7) taps along one direction."""

    taps: int

    @property
    def shared(self) -> int:
        """Points of both phases; the even phase has one more."""
        return self.taps // 2 + 1

    @property
    def points(self) -> int:
        """Points of the even phase."""
        return self.shared + 1

    @property
    def patch(self) -> int:
        """Inputs that a tile reads."""
        return STRIDE * (TILE - 1) + self.taps

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The even phase's, then the odd one's."""
        sizes = (self.points, self.shared)
        return tuple(Slot(phase, p) for phase, size in enumerate(sizes) for p in range(size))

    def slot(self, phase: int, point: int) -> int:
        """The index of a slot; linear in both, so that kernels can compute it."""
        return phase * self.points + point

    @cached_property
    def input_rows(self) -> tuple[Row, ...]:
        """For each slot the coefficients of the inputs of its phase (input ``2 * i + phase``)."""
        return tuple(_input(_finite(self, s.phase))[_order(self, s)] for s in self.slots)

    @cached_property
    def output_rows(self) -> tuple[Row, ...]:
        """For each output of a tile the coefficients of the points."""
        finite = _finite(self, 0)
        rows = []
        for k in range(TILE):
            row = [a**k for a in finite]
            row.insert(self.shared - 1, int(k == TILE - 1))
            rows.append(tuple(row))
        return tuple(rows)

    @cached_property
    def weight_matrix(self) -> np.ndarray:
        """float64 [slot, tap]."""
        matrix = np.zeros((len(self.slots), self.taps))
        for i, s in enumerate(self.slots):
            finite = _finite(self, s.phase)
            count = len(range(s.phase, self.taps, STRIDE))
            at = _order(self, s)
            if at == len(finite):
                row = [Fraction(int(k == count - 1)) for k in range(count)]
            else:
                scale = Fraction(1)
                for b in finite[:at] + finite[at + 1 :]:
                    scale *= finite[at] - b
                row = [Fraction(finite[at] ** k) / scale for k in range(count)]
            matrix[i, s.phase :: STRIDE] = [float(v) for v in row]
        return matrix


def _finite(f: Filtering, phase: int) -> Row:
    """The points of a phase that are numbers."""
    return _POINTS[: f.shared - phase]


def _order(f: Filtering, s: Slot) -> int:
    """Where a slot's point stands among its phase's numbers; their count for infinity."""
    if s.point < f.shared - 1:
        return s.point
    last = len(_finite(f, s.phase))
    return last if s.point == f.shared - 1 else last - 1


def _input(finite: Row) -> list[Row]:
    """The input transform of Toom and Cook for these points and infinity."""
    rows = [_polynomial(finite[:i] + finite[i + 1 :]) for i in range(len(finite))]
    width = len(finite) + 1
    return [row + (0,) * (width - len(row)) for row in (*rows, _polynomial(finite))]


def _polynomial(roots: Row) -> Row:
    """Coefficients of the product of (x - root), lowest first."""
    found = [1]
    for root in roots:
        shifted = [0, *found]
        found = [a - root * b for a, b in zip(shifted, [*found, 0], strict=True)]
    return tuple(found)


def combine(
    row: Sequence[int],
    values: Sequence[T],
    add: Callable[[T, T], T],
    subtract: Callable[[T, T], T],
    fma: Callable[[T, int, T], T],
) -> T:
    """Sum of row[i] * values[i]: terms with factor 1, then -1, then the others by fma, in order."""
    terms = sorted((i for i, c in enumerate(row) if c), key=lambda i: (row[i] != 1, row[i] != -1))
    first, *rest = terms
    assert row[first] == 1
    total = values[first]
    for i in rest:
        if row[i] == 1:
            total = add(total, values[i])
        elif row[i] == -1:
            total = subtract(total, values[i])
        else:
            total = fma(values[i], row[i], total)
    return total


def transform_weights(w: np.ndarray) -> np.ndarray:
    """Weights [O,K,K,C] as float32 [slot of rows, slot of columns, C, O]."""
    matrix = Filtering(w.shape[1]).weight_matrix
    slots = np.einsum("ik,okxc,jx->ijco", matrix, w.astype(np.float64), matrix)
    found: np.ndarray = slots.astype(np.float32)
    return found


def _combine(row: Sequence[int], values: Sequence[Float]) -> Float:
    return combine(
        row,
        values,
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda v, c, total: reference.fma(v, np.full(v.shape, c, np.float32), total),
    )


def winograd_conv2d(x: Float, w: Float, window: Window) -> Float:
    """float32 convolution of stride 2, zero padded; x [N,H,W,C], w [O,K,K,C] -> [N,OH,OW,O].

    OH and OW must be even. Rows are transformed first, then columns; the sum over (phase of rows,
    phase of columns, c) is in order with fma from 0; then columns are transformed back, then rows.
    """
    f = Filtering(window.kernel[0])
    padded, oh, ow = reference.windows(x, window, 0.0)
    height, width = oh // TILE, ow // TILE
    step = STRIDE * TILE

    def patch(i: int, j: int) -> Float:
        rows = padded[:, i : i + step * (height - 1) + 1 : step]
        return rows[:, :, j : j + step * (width - 1) + 1 : step]

    image = [[patch(i, j) for j in range(f.patch)] for i in range(f.patch)]
    rows = [
        [
            _combine(row, [image[i][j] for i in range(s.phase, f.patch, STRIDE)])
            for j in range(f.patch)
        ]
        for row, s in zip(f.input_rows, f.slots, strict=True)
    ]
    seen = [
        [
            _combine(row, [one[j] for j in range(s.phase, f.patch, STRIDE)])
            for row, s in zip(f.input_rows, f.slots, strict=True)
        ]
        for one in rows
    ]
    weights = transform_weights(w)
    sums = [[_sum(f, seen, weights, p, q) for q in range(f.points)] for p in range(f.points)]
    back = [[_combine(row, one) for row in f.output_rows] for one in sums]
    out = np.empty((x.shape[0], oh, ow, w.shape[0]), np.float32)
    for dy, row in enumerate(f.output_rows):
        for dx in range(TILE):
            out[:, dy::TILE, dx::TILE] = _combine(row, [one[dx] for one in back])
    return out


def _sum(f: Filtering, seen: list[list[Float]], weights: Float, p: int, q: int) -> Float:
    """The products at the points (p, q), added."""
    n, height, width, channels = seen[0][0].shape
    total = np.zeros((n, height, width, weights.shape[3]), np.float32)
    for r in range(2 if p < f.shared else 1):
        for s in range(2 if q < f.shared else 1):
            i, j = f.slot(r, p), f.slot(s, q)
            for c in range(channels):
                value = np.broadcast_to(seen[i][j][..., c, None], total.shape)
                total = reference.fma(value, np.broadcast_to(weights[i, j, c], total.shape), total)
    return total
