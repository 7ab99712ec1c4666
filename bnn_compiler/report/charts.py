"""The two charts of a profile, as SVG that takes its colours from the page's style sheet."""

import math
from dataclasses import dataclass

from bnn_compiler.report.profile import ProfileReport
from bnn_compiler.report.svg import WIDTH, figure, label, line, shortened, tag, text
from bnn_compiler.runtime.artifact import LayerProfile
from bnn_compiler.runtime.bounds import Bound, Peaks


def tooltip(layer: LayerProfile, bound: Bound | None) -> str:
    """The <title> of a layer's mark."""
    lines = [f"{layer.name} ({layer.op})", f"{layer.seconds * 1e6:.1f} us"]
    if layer.macs:
        lines.append(f"{layer.macs / 1e6:.2f} M multiply-accumulates, {layer.gmacs:.1f} GMAC/s")
    if layer.bytes:
        lines.append(
            f"{layer.bytes_read / 1e3:.0f} kB read, {layer.bytes_written / 1e3:.0f} kB written, "
            f"{layer.bytes_weights / 1e3:.0f} kB of constants"
        )
    if bound:
        lines.append(
            f"{bound.percent(layer.seconds):.0f} % of its roofline, {bound.seconds * 1e6:.1f} us "
            f"by {bound.kind} (its bytes fit in {bound.level})"
        )
    if layer.fused:
        lines.append(f"fused: {', '.join(layer.fused)}")
    return tag("title", text("\n".join(lines)))


@dataclass(frozen=True)
class _Plane:
    """A log-log plane: MAC/byte to the right, GMAC/s upwards."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = 64
    right: float = WIDTH - 24
    top: float = 16
    bottom: float = 432

    @property
    def x_decade(self) -> float:
        """Pixels of a factor of ten."""
        return (self.right - self.left) / math.log10(self.x_range[1] / self.x_range[0])

    @property
    def y_decade(self) -> float:
        """Pixels of a factor of ten."""
        return (self.bottom - self.top) / math.log10(self.y_range[1] / self.y_range[0])

    def x(self, intensity: float) -> float:
        return self.left + math.log10(intensity / self.x_range[0]) * self.x_decade

    def y(self, gmacs: float) -> float:
        return self.bottom - math.log10(gmacs / self.y_range[0]) * self.y_decade

    def axes(self) -> str:
        """Grid, numbers and titles."""
        parts = []
        for value in _ticks(*self.x_range):
            x = self.x(value)
            parts.append(line(x, self.top, x, self.bottom, "grid"))
            parts.append(label(x, self.bottom + 18, f"{value:g}", "middle"))
        for value in _ticks(*self.y_range):
            y = self.y(value)
            parts.append(line(self.left, y, self.right, y, "grid"))
            parts.append(label(self.left - 8, y + 4, f"{value:g}", "end"))
        middle = (self.top + self.bottom) / 2
        title = "multiply-accumulates per byte"
        parts.append(label((self.left + self.right) / 2, self.bottom + 38, title, "middle"))
        turn = f"rotate(-90 16 {middle:g})"
        parts.append(label(16, middle, "GMAC/s", "middle", transform=turn))
        return "".join(parts)


def roofline(report: ProfileReport) -> str:
    """Layers with multiply-accumulates as dots, their area by their time, under the peaks.

    Empty without peaks or without such layers.
    """
    peaks = report.peaks
    marks = [
        (layer, bound)
        for layer, bound in zip(report.layers, report.bounds(), strict=True)
        if layer.macs and layer.bytes and layer.seconds
    ]
    if peaks is None or not marks:
        return ""
    intensities = [layer.macs / layer.bytes for layer, _ in marks]
    ridges = [_highest(peaks) / level.bandwidth for level in peaks.levels]
    plane = _Plane(
        _around([*intensities, *ridges, peaks.fma / peaks.levels[0].bandwidth]),
        _around([*(layer.gmacs for layer, _ in marks), peaks.fma, _highest(peaks)]),
    )
    dots = []
    # Big ones first, so that none hides another.
    for layer, bound in sorted(marks, key=lambda m: -m[0].seconds):
        dots.append(
            tag(
                "circle",
                tooltip(layer, bound),
                cx=plane.x(layer.macs / layer.bytes),
                cy=plane.y(layer.gmacs),
                r=max(4.0, 32 * math.sqrt(layer.seconds / report.seconds)),
                class_=f"dot {bound.kind if bound else 'none'}",
            )
        )
    content = plane.axes() + _bandwidths(plane, peaks) + _ceilings(plane, peaks) + "".join(dots)
    return figure(content, plane.bottom + 48, "Roofline of each layer")


def bars(report: ProfileReport) -> str:
    """Time of each layer as a bar: solid up to its bound, pale above it."""
    left, right, step = 230.0, WIDTH - 130.0, 20
    longest = max((layer.seconds for layer in report.layers), default=0.0) or 1.0
    parts = []
    for i, (layer, bound) in enumerate(zip(report.layers, report.bounds(), strict=True)):
        y = 4.0 + step * i
        width = (right - left) * layer.seconds / longest
        solid = min(bound.seconds / longest * (right - left), width) if bound else 0.0
        kind = bound.kind if bound else "none"
        share = 100 * layer.seconds / report.seconds if report.seconds else 0.0
        value = f"{layer.seconds * 1e6:.1f} us, {share:.1f} %"
        parts.append(
            tag(
                "g",
                tooltip(layer, bound),
                tag("rect", x=0, y=y, width=WIDTH, height=step, class_="row"),
                label(left - 8, y + 14, shortened(layer.name), "end"),
                tag("rect", x=left, y=y + 3, width=width, height=step - 6, class_=f"pale {kind}"),
                tag("rect", x=left, y=y + 3, width=solid, height=step - 6, class_=kind),
                label(left + width + 8, y + 14, value),
            )
        )
    return figure("".join(parts), 8.0 + step * len(report.layers), "Time of each layer")


def _bandwidths(plane: _Plane, peaks: Peaks) -> str:
    """A slope for each memory level, up to the highest ceiling; labels beside one another."""
    parts = []
    angle = -math.degrees(math.atan2(plane.y_decade, plane.x_decade))
    for i, level in enumerate(peaks.levels):
        start = max(plane.x_range[0], plane.y_range[0] / level.bandwidth)
        x1, y1 = plane.x(start), plane.y(start * level.bandwidth)
        x2, y2 = plane.x(_highest(peaks) / level.bandwidth), plane.y(_highest(peaks))
        parts.append(line(x1, y1, x2, y2, "peak"))
        share = 0.05 + 0.2 * (i % 3)
        x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
        turn = f"rotate({angle:.2f} {x:.1f} {y:.1f})"
        parts.append(label(x, y - 4, f"{level.name} {level.bandwidth:.0f} GB/s", transform=turn))
    return "".join(parts)


def _ceilings(plane: _Plane, peaks: Peaks) -> str:
    """A horizontal line for each arithmetic peak."""
    parts = []
    for kind in ("popcount", "int8", "fma"):
        rate = getattr(peaks, kind)
        if rate:
            y = plane.y(rate)
            start = plane.x(rate / peaks.levels[0].bandwidth)
            parts.append(line(start, y, plane.right, y, f"peak line-{kind}"))
            parts.append(label(plane.right - 4, y - 5, f"{kind} {rate:.0f} GMAC/s", "end"))
    return "".join(parts)


def _highest(peaks: Peaks) -> float:
    return max(peaks.popcount, peaks.int8, peaks.fma)


def _around(values: list[float]) -> tuple[float, float]:
    """The range of ``values``, with some room."""
    return min(values) / 1.8, max(values) * 1.8


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from ``low`` to ``high``."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]
