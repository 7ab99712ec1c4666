"""Constants in parts, so that what is computed from a large one takes little memory besides."""

from collections.abc import Iterator

#: Elements of a part: 8 MB of float64, which caches hold.
SIZE = 1 << 20


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of ``count`` rows of ``size`` elements, each of one row or at most SIZE elements."""
    step = max(1, SIZE // max(1, size))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))
