"""HTML pages that need no other file and no script; a profile as one."""

from collections.abc import Sequence
from pathlib import Path

from bnn_compiler.errors import InputError
from bnn_compiler.report import charts
from bnn_compiler.report.profile import COLUMNS, ProfileReport
from bnn_compiler.report.svg import tag, text

STYLE = Path(__file__).with_name("page.css")
#: Style classes of the columns that are not numbers.
_SIDES = {
    "layer": "left",
    "operator": "left",
    "bound": "left",
    "fused": "wraps",
    "schedule": "left",
}


def page(report: ProfileReport) -> str:
    """The whole page."""
    return document(f"Profile of {report.name}", *_sections(report))


def document(name: str, *sections: str) -> str:
    """A page of markup under a heading, with the style sheet in it."""
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            tag("title", text(name)),
            tag("style", STYLE.read_text()),
        ),
        tag("body", tag("main", tag("h1", text(name)), *sections)),
        lang="en",
    )


def write(report: ProfileReport, path: Path) -> None:
    """Write a profile's page. Raises InputError if it cannot."""
    write_page(page(report), path)


def write_page(markup: str, path: Path) -> None:
    """Write a page; ``path`` never holds half of one. Raises InputError if it cannot."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(markup, encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"cannot write {path}: {e.strerror}; give a file in a folder that exists"
        ) from e


def _sections(report: ProfileReport) -> list[str]:
    threads = "1 thread" if report.threads == 1 else f"{report.threads} threads"
    sections = [
        tag("p", text(f"{report.cpu}, {threads}, compiled for {report.target}.")),
        *(tag("p", text(line), class_="sum") for line in report.summary()),
    ]
    chart = charts.roofline(report)
    if chart:
        sections += [
            tag("h2", "Roofline"),
            _legend(),
            tag("div", chart, class_="wide"),
            tag("p", text(_ROOFLINE), class_="note"),
        ]
    solid = text(_BARS if report.peaks else "In the order they run.")
    return [
        *sections,
        tag("h2", "Time of each layer"),
        _legend() if report.peaks else "",
        tag("div", charts.bars(report), class_="wide"),
        tag("p", solid, class_="note"),
        tag("h2", "All numbers"),
        tag("div", table(COLUMNS, report.rows(), _SIDES), class_="wide"),
    ]


_ROOFLINE = (
    "A dot is a layer, its area the time it takes, its colour what bounds it. No layer can lie"
    " above the line of the memory level that its bytes fit in, nor above that of its arithmetic."
    " Layers without multiply-accumulates (pooling, layout) have no dot. Point at a mark for its"
    " numbers."
)
_BARS = (
    "In the order they run. Solid: the least time the roofline allows. Pale: what the layer takes"
    " on top, for what the model leaves out (epilogue, packing, data in a farther cache) and for"
    " what could still be gained."
)


def _legend() -> str:
    kinds = ("popcount", "fma", "memory")
    items = [tag("li", tag("i", class_=kind), text(f"bound by {kind}")) for kind in kinds]
    return tag("ul", *items, class_="legend")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], sides: dict[str, str]) -> str:
    """A table; ``sides`` are the style classes of columns that are not numbers."""
    classes = [sides.get(name, "right") for name in columns]
    head = [tag("th", text(c), class_=s) for c, s in zip(columns, classes, strict=True)]
    body = [
        tag("tr", *(tag("td", text(c), class_=s) for c, s in zip(row, classes, strict=True)))
        for row in rows
    ]
    return tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
