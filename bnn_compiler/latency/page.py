"""A sweep as a picture: one HTML page that needs no other file, and a PNG."""

from pathlib import Path

from bnn_compiler.errors import InputError
from bnn_compiler.files import replace_bytes, replace_text
from bnn_compiler.latency.sweep import COLUMNS, Sweep
from bnn_compiler.report.html import STYLE
from bnn_compiler.report.svg import tag, text

_WIDTH, _HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 936, 16, 380
_STYLE = """
.stairs { fill: none; stroke: var(--popcount); stroke-width: 2; }
.interval { fill: var(--popcount); fill-opacity: 0.15; }
svg .dominated { fill: var(--none); }
"""
_NOTE = (
    "Blue: counts that are worth having. Grey: dominated, a larger count takes no longer. The band"
    " is to hold 80 % of networks. Point at a mark for its numbers."
)


def write(sweep: Sweep, title: str, about: str, path: Path) -> None:
    """Write the page. Raises InputError if it cannot be written."""
    head = tag(
        "head",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", text(title)),
        tag("style", STYLE.read_text() + _STYLE),
    )
    cells = [tag("tr", *(tag("td", text(c), class_="right") for c in row)) for row in sweep.rows()]
    names = tag("tr", *(tag("th", text(c), class_="right") for c in COLUMNS))
    body = tag(
        "main",
        tag("h1", text(title)),
        tag("p", text(about), class_="sum"),
        tag("div", chart(sweep), class_="wide"),
        tag("p", text(_NOTE), class_="note"),
        tag("h2", "Counts worth having"),
        tag("div", tag("table", tag("thead", names), tag("tbody", *cells)), class_="wide"),
    )
    page = "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en")
    try:
        replace_text(path, page)
    except OSError as e:
        raise InputError(f"cannot write {path}: {e.strerror}; give another file") from e


def chart(sweep: Sweep) -> str:
    """The staircase as SVG."""
    most = float(sweep.times.high.max())
    last = sweep.channels[-1]

    def x(count: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * count / last

    def y(seconds: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * seconds / most

    columns = list(zip(sweep.channels, sweep.times.low, sweep.times.high, strict=True))
    band = [(x(c), y(high)) for c, _, high in columns]
    band += [(x(c), y(low)) for c, low, _ in reversed(columns)]
    marks = [
        tag("line", x1=_LEFT, x2=_RIGHT, y1=y(most * i / 4), y2=y(most * i / 4), class_="grid")
        + tag("text", f"{1e3 * most * i / 4:.2f}", x=_LEFT - 8, y=y(most * i / 4) + 4,
              text_anchor="end")
        for i in range(5)
    ]  # fmt: skip
    marks += [
        tag("text", str(round(last * i / 8)), x=x(last * i / 8), y=_BOTTOM + 18,
            text_anchor="middle")
        for i in range(1, 9)
    ]  # fmt: skip
    points = zip(sweep.channels, sweep.times.seconds, sweep.dominated, strict=True)
    dots = [
        tag(
            "circle",
            tag("title", text(f"{count} channels: {1e3 * seconds:.3f} ms")),
            cx=x(count),
            cy=y(seconds),
            r=2.5,
            class_="dominated" if bad else "popcount",
        )
        for count, seconds, bad in points
    ]
    line = [(x(c), y(s)) for c, s in zip(sweep.channels, sweep.times.seconds, strict=True)]
    return tag(
        "svg",
        *marks,
        tag("polygon", points=_path(band), class_="interval"),
        tag("polyline", points=_path(line), class_="stairs"),
        *dots,
        tag("text", text(f"channels of {sweep.group}; milliseconds"), x=_LEFT, y=_BOTTOM + 36),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
    )


def write_png(sweep: Sweep, title: str, path: Path) -> None:
    """The same as a picture. Raises InputError without matplotlib, or if it cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise InputError("a PNG needs matplotlib: pip install bnn_compiler[plot]") from e
    import io

    figure = Figure(figsize=(9.6, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    counts, ms = list(sweep.channels), 1e3 * sweep.times.seconds
    axes.fill_between(counts, 1e3 * sweep.times.low, 1e3 * sweep.times.high, alpha=0.15)
    axes.plot(counts, ms, linewidth=1)
    for bad, name in ((False, "worth having"), (True, "dominated")):
        chosen = [i for i, b in enumerate(sweep.dominated) if b == bad]
        colour = "tab:gray" if bad else "tab:blue"
        axes.scatter([counts[i] for i in chosen], ms[chosen], s=8, color=colour, label=name)
    axes.set(xlabel=f"channels of {sweep.group}", ylabel="ms", title=title, ylim=(0, None))
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png")
    try:
        replace_bytes(path, data.getvalue())
    except OSError as e:
        raise InputError(f"cannot write {path}: {e.strerror}; give another file") from e


def _path(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
