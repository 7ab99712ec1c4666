"""The charts of a search's page, as SVG that takes its colours from the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bnn_compiler.report.svg import WIDTH, figure, label, line, shortened, tag, text


@dataclass(frozen=True)
class Dot:
    """A point of a scatter: its style class, and what pointing at it shows."""

    x: float
    y: float
    kind: str
    title: str
    radius: float = 4.0


@dataclass(frozen=True)
class Axis:
    """What runs along one side: a title, a unit behind each number, and a factor on it."""

    title: str
    unit: str = ""
    factor: float = 1.0


@dataclass(frozen=True)
class _Plane:
    """A linear plane around some values."""

    xs: tuple[float, float]
    ys: tuple[float, float]
    left: float = 76
    right: float = WIDTH - 24
    top: float = 16
    bottom: float = 340

    @staticmethod
    def around(xs: Sequence[float], ys: Sequence[float]) -> "_Plane":
        return _Plane(_room(xs), _room(ys))

    def x(self, value: float) -> float:
        return self.left + (value - self.xs[0]) / (self.xs[1] - self.xs[0]) * (
            self.right - self.left
        )

    def y(self, value: float) -> float:
        return self.bottom - (value - self.ys[0]) / (self.ys[1] - self.ys[0]) * (
            self.bottom - self.top
        )

    def axes(self, across: Axis, up: Axis) -> str:
        """Grid, numbers and titles."""
        parts = []
        for value in _ticks(*self.xs):
            parts.append(line(self.x(value), self.top, self.x(value), self.bottom, "grid"))
            parts.append(label(self.x(value), self.bottom + 18, _number(value, across), "middle"))
        for value in _ticks(*self.ys):
            parts.append(line(self.left, self.y(value), self.right, self.y(value), "grid"))
            parts.append(label(self.left - 8, self.y(value) + 4, _number(value, up), "end"))
        centre, middle = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        parts.append(label(centre, self.bottom + 38, across.title, "middle"))
        turn = f"rotate(-90 16 {middle:g})"
        parts.append(label(16, middle, up.title, "middle", transform=turn))
        return "".join(parts)

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> str:
        """A line through points."""
        where = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return tag("polyline", points=where, class_=kind)


def scatter(
    dots: Sequence[Dot],
    across: Axis,
    up: Axis,
    title: str,
    *,
    front: Sequence[tuple[float, float]] = (),
    limit: float | None = None,
    diagonal: bool = False,
) -> str:
    """Dots, the later above the earlier; a ``front`` through points, a ``limit`` across, and the
    ``diagonal`` on which both axes are equal. Empty without dots.
    """
    if not dots:
        return ""
    xs, ys = [d.x for d in dots], [d.y for d in dots]
    if diagonal:
        xs = ys = [*xs, *ys]
    plane = _Plane.around([*xs, *([limit] if limit is not None else [])], ys)
    parts = [plane.axes(across, up)]
    if limit is not None:
        x = plane.x(limit)
        parts += [line(x, plane.top, x, plane.bottom, "peak"), label(x - 6, 30, "budget", "end")]
    if diagonal:
        parts.append(plane.path([(plane.xs[0], plane.xs[0]), (plane.xs[1], plane.xs[1])], "curve"))
    if front:
        parts.append(plane.path(front, "front"))
    for dot in dots:
        parts.append(
            tag(
                "circle",
                tag("title", text(dot.title)),
                cx=plane.x(dot.x),
                cy=plane.y(dot.y),
                r=dot.radius,
                class_=f"dot {dot.kind}",
            )
        )
    return figure("".join(parts), plane.bottom + 48, title)


def curves(best: Sequence[float], mean: Sequence[float], title: str) -> str:
    """Two values of each generation. Empty without any."""
    if not best:
        return ""
    plane = _Plane.around([0, max(len(best) - 1, 1)], [*best, *mean])
    parts = [
        plane.axes(Axis("generation"), Axis("accuracy", " %", 100)),
        plane.path(list(enumerate(mean)), "curve pale"),
        plane.path(list(enumerate(best)), "curve"),
    ]
    return figure("".join(parts), plane.bottom + 48, title)


def kept(rows: Sequence[tuple[str, int, int, int]], title: str) -> str:
    """(group, full, searched, uniform): what is kept of each as two bars."""
    left, right, step = 230.0, WIDTH - 190.0, 30
    parts = []
    for i, (name, full, searched, uniform) in enumerate(rows):
        y = 4.0 + step * i
        bars = [
            tag(
                "rect",
                x=left,
                y=y + 3 + 12 * j,
                width=(right - left) * count / full,
                height=10,
                class_=kind,
            )
            for j, (count, kind) in enumerate(((searched, "popcount"), (uniform, "fma")))
        ]
        words = f"{searched} | {uniform} of {full}"
        parts.append(
            tag(
                "g",
                tag("title", text(f"{name}: searched {searched}, uniform {uniform}, full {full}")),
                tag("rect", x=0, y=y, width=WIDTH, height=step, class_="row"),
                label(left - 8, y + 18, shortened(name), "end"),
                tag("rect", x=left, y=y + 3, width=right - left, height=22, class_="pale none"),
                *bars,
                label(right + 8, y + 18, words),
            )
        )
    return figure("".join(parts), 8.0 + step * len(rows), title)


def _room(values: Sequence[float]) -> tuple[float, float]:
    """The range of values, with some room."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Some seven round numbers."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float, axis: Axis) -> str:
    return f"{value * axis.factor:.4g}{axis.unit}"
