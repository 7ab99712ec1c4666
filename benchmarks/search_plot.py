"""Accuracy against time as an SVG."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Protocol

#: Colour and mark of each method.
_STYLES = {
    "uniform": ("#848d97", "o"),
    "searched": ("#0969da", "D"),
    "random": ("#1a8754", "s"),
    "FLOPs": ("#d1571b", "^"),
    "one group": ("#8250df", "v"),
    "full": ("#24292f", "*"),
}


class Point(Protocol):
    """What is drawn: seconds and the test accuracies of the seeds."""

    @property
    def method(self) -> str: ...

    @property
    def seconds(self) -> float: ...

    @property
    def measured(self) -> float | None: ...

    @property
    def tests(self) -> tuple[float, ...]: ...


def draw(points: Sequence[Point], path: Path) -> None:
    """Means, and bars from the least to the most of the seeds; uniform is joined by a line."""
    import matplotlib

    matplotlib.use("svg")
    # Two drawings of the same numbers are the same file.
    matplotlib.rcParams["svg.hashsalt"] = "bnn_compiler"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for method, (colour, mark) in _STYLES.items():
        mine = sorted({(p.seconds, p.tests) for p in points if p.method == method})
        if not mine:
            continue
        x = [t * 1e6 for t, _ in mine]
        y = [100 * fmean(a) for _, a in mine]
        down = [100 * (fmean(a) - min(a)) for _, a in mine]
        up = [100 * (max(a) - fmean(a)) for _, a in mine]
        line = "-" if method == "uniform" else ""
        axes.errorbar(
            x, y, [down, up], fmt=mark + line, color=colour, label=method, capsize=3, markersize=6
        )
    measured = all(p.measured is not None for p in points)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.set_xlabel(f"{'measured' if measured else 'predicted'} time of an image, us, one thread")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="svg", metadata={"Date": None})
    partial.replace(path)
    pyplot.close(figure)
