"""The roofline model: how fast a layer could be on this core, and what keeps it from being faster.

    seconds >= max(macs / arithmetic peak, bytes / bandwidth)

- Arithmetic is the layer's multiply-accumulates at the popcount peak for a binary layer, at twice
  the float32 FMA peak for bytes with 16-bit weights, two of which share a lane, at four
  times it for 8-bit weights, and at that peak for any other; minimal filtering counts what it
  multiplies. What else it computes (epilogue, packing, pooling) is free. Taps in padding are
  included; kernels skip those above and below the image, so that a 3x3 layer of 7x7 pixels that
  misses nothing would show 110 %.
- ``bytes`` is each buffer and constant that the layer reads or writes, whole and once, padding
  included. The bandwidth is that of the smallest memory level that holds them all.
  (Only a 1x1 kernel with a stride, which skips pixels, touches less.)
- Both overlap perfectly.

So it is a bound and not a forecast: data that an earlier layer has pushed out of a cache, and
everything that is free here, make a good layer miss it. Peaks are those of the instructions the
artifact was compiled for, and of one core; with more threads each is taken as if every core had
its own memory.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

#: The peak of an operator's arithmetic and how many of its products share a lane; others are
#: ("fma", 1).
ARITHMETIC = {
    **dict.fromkeys(("bnn.conv2d", "bnn.matmul"), ("popcount", 1)),
    "bnn.byte_conv2d": ("fma", 2),
    "bnn.int8_conv2d": ("fma", 4),
}


@dataclass(frozen=True)
class Level:
    """A memory level: its name, its size in bytes (None: no limit), its bandwidth in GB/s."""

    name: str
    bytes: int | None
    bandwidth: float


@dataclass(frozen=True)
class Peaks:
    """Measured peaks: ``popcount``, ``fma``, ``int8`` in GMAC/s; levels from near to far.

    No kernel uses ``int8`` (0 where the CPU has none); it is there to compare with.
    """

    popcount: float
    fma: float
    int8: float
    levels: tuple[Level, ...]

    @classmethod
    def of(
        cls, rates: Mapping[str, float], sizes: Mapping[str, int | None], features: Collection[str]
    ) -> "Peaks":
        """From what ``roofline.rates`` returns and the size in bytes of each memory level.

        Of the arithmetic rates, which are named KIND_FLAG or KIND_FLAG-FORM, only those whose CPU
        flag is among ``features`` count, except for int8. Raises ValueError if no rate of a kind
        is left.
        """

        def best(kind: str) -> float:
            usable = {f"{kind}_{flag}" for flag in features}
            return max(rate for name, rate in rates.items() if name.partition("-")[0] in usable)

        return cls(
            best("popcount"),
            best("fma"),
            max((rate for name, rate in rates.items() if name.startswith("int8_")), default=0.0),
            tuple(
                # A copy reads and writes; some cores overlap the two, others only look slower.
                Level(name, size, max(rates[f"read_{name}"], 2 * rates[f"copy_{name}"]))
                for name, size in sizes.items()
            ),
        )

    def times(self, threads: int) -> "Peaks":
        """Those of ``threads`` cores that share nothing."""
        return Peaks(
            self.popcount * threads,
            self.fma * threads,
            self.int8 * threads,
            tuple(
                replace(
                    level,
                    bytes=None if level.bytes is None else level.bytes * threads,
                    bandwidth=level.bandwidth * threads,
                )
                for level in self.levels
            ),
        )

    def level(self, size: int) -> Level:
        """The nearest level that holds ``size`` bytes."""
        return next(v for v in self.levels if v.bytes is None or size <= v.bytes)


@dataclass(frozen=True)
class Bound:
    """The least seconds of a layer, and what sets them.

    ``kind`` is "popcount", "fma" or "memory"; ``level`` names where its bytes were taken to lie.
    """

    seconds: float
    kind: str
    level: str

    def percent(self, seconds: float) -> float:
        """Percent of the roofline that a layer of ``seconds`` reaches."""
        return 100 * self.seconds / seconds if seconds else 0.0


def bound(peaks: Peaks, *, macs: int, op: str, size: int) -> Bound:
    """The bound of a layer ``op`` ("bnn.conv2d") of ``macs`` that touches ``size`` bytes."""
    kind, lanes = ARITHMETIC.get(op, ("fma", 1))
    peak = lanes * (peaks.popcount if kind == "popcount" else peaks.fma)
    level = peaks.level(size)
    arithmetic, memory = 1e-9 * macs / peak, 1e-9 * size / level.bandwidth
    if not macs or memory > arithmetic:
        kind = "memory"
    return Bound(max(arithmetic, memory), kind, level.name)
