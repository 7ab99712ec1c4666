"""A profile next to the peaks of the CPU: the numbers that every form of the report shows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnn_compiler.runtime.artifact import LayerProfile
from bnn_compiler.runtime.bounds import Bound, Peaks

COLUMNS = (
    "layer",
    "operator",
    "us",
    "MMAC",
    "GMAC/s",
    "kB",
    "bound",
    "roofline",
    "fused",
    "schedule",
)


@dataclass(frozen=True)
class ProfileReport:
    """The layers of one profile in the order they run.

    ``peaks`` are those of all ``threads`` together; where they are None, ``why_no_peaks`` says why.
    """

    name: str
    target: str
    cpu: str
    threads: int
    layers: Sequence[LayerProfile]
    peaks: Peaks | None = None
    why_no_peaks: str = ""

    @property
    def seconds(self) -> float:
        """The sum of the layers' medians."""
        return sum(layer.seconds for layer in self.layers)

    @property
    def bound_seconds(self) -> float | None:
        """The sum of the layers' bounds."""
        found = [b.seconds for b in self.bounds() if b is not None]
        return sum(found) if found else None

    def bounds(self) -> list[Bound | None]:
        """The bound of each layer; None without peaks and for a layer of no work."""
        if self.peaks is None:
            return [None] * len(self.layers)
        found = [layer.bound(self.peaks) for layer in self.layers]
        return [b if b.seconds else None for b in found]

    def rows(self) -> list[list[str]]:
        """The cells under COLUMNS, a row for each layer; empty where there is nothing to say."""
        return [
            [
                layer.name,
                layer.op,
                f"{layer.seconds * 1e6:.1f}",
                f"{layer.macs / 1e6:.2f}" if layer.macs else "",
                f"{layer.gmacs:.0f}" if layer.macs else "",
                f"{layer.bytes / 1e3:.0f}" if layer.bytes else "",
                _bound(bound),
                f"{bound.percent(layer.seconds):.0f} %" if bound else "",
                ", ".join(layer.fused),
                layer.schedule,
            ]
            for layer, bound in zip(self.layers, self.bounds(), strict=True)
        ]

    def summary(self) -> list[str]:
        """The lines below the table: the sums, the peaks or why there are none, other forms."""
        return [*self._sums(), *self._faster_as_float()]

    def _faster_as_float(self) -> list[str]:
        """Binary layers that would be faster in float32, one line each."""
        return [
            f"{layer.name} would take {layer.float_ratio:.2f} of its time in float32 (measured when"
            " tuned); it stays in its exact binary form"
            for layer in self.layers
            if layer.float_ratio is not None and layer.float_ratio < 1
        ]

    def _sums(self) -> list[str]:
        total = f"total {self.seconds * 1e3:.3f} ms"
        if self.peaks is None or self.bound_seconds is None:
            return [total, f"no rooflines: {self.why_no_peaks}"]
        percent = 100 * self.bound_seconds / self.seconds if self.seconds else 0.0
        total += f"; roofline {self.bound_seconds * 1e3:.3f} ms ({percent:.0f} %)"
        cores = "1 core" if self.threads == 1 else f"{self.threads} cores"
        return [total, f"peaks of {cores}: {', '.join(self.peak_texts())}"]

    def peak_texts(self) -> list[str]:
        """Each peak with its unit; empty without peaks."""
        if self.peaks is None:
            return []
        kinds = {"popcount": self.peaks.popcount, "fma": self.peaks.fma, "int8": self.peaks.int8}
        return [f"{kind} {rate:.0f} GMAC/s" for kind, rate in kinds.items() if rate] + [
            f"{level.name} {level.bandwidth:.0f} GB/s" for level in self.peaks.levels
        ]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON: seconds, bytes, GMAC/s and GB/s; None where there are no peaks."""
        return {
            "name": self.name,
            "target": self.target,
            "cpu": self.cpu,
            "threads": self.threads,
            "seconds": self.seconds,
            "bound_seconds": self.bound_seconds,
            "peaks": asdict(self.peaks) if self.peaks else None,
            "why_no_peaks": self.why_no_peaks,
            "layers": [
                {
                    **asdict(layer),
                    "bytes": layer.bytes,
                    "gmacs": layer.gmacs,
                    "bound": asdict(bound) if bound else None,
                    "percent_of_roofline": bound.percent(layer.seconds) if bound else None,
                }
                for layer, bound in zip(self.layers, self.bounds(), strict=True)
            ],
        }


def _bound(bound: Bound | None) -> str:
    if bound is None:
        return ""
    return f"{bound.kind} {bound.level}" if bound.kind == "memory" else bound.kind
