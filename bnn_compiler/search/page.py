"""A search as one HTML page that needs no other file and no script."""

import json
from pathlib import Path

from bnn_compiler import files
from bnn_compiler.report import html
from bnn_compiler.report.svg import tag, text
from bnn_compiler.search.budget import shown
from bnn_compiler.search.charts import Axis, Dot, curves, kept, scatter
from bnn_compiler.search.report import SearchReport

_UNITS = {"s": ("predicted time, us", 1e6), "B": ("weights, kB", 1e-3)}
_ACCURACY = Axis("accuracy with inherited weights", " %", 100)


def write(report: SearchReport, folder: Path) -> None:
    """report.json and report.html. Raises InputError or OSError if they cannot be written."""
    files.replace_text(folder / "report.json", json.dumps(report.as_dict(), indent=1))
    html.write_page(page(report), folder / "report.html")


def page(report: SearchReport) -> str:
    """The whole page."""
    where = f"{report.cpu}, " if report.cpu else ""
    return html.document(
        f"Search of {report.name}",
        tag("p", text(f"{where}one thread, for {report.target}.")),
        *_verdict(report),
        *(tag("p", text(sentence), class_="sum") for sentence in report.summary()),
        tag("h2", "What was compared"),
        tag("div", _comparison(report), class_="wide"),
        tag("p", text(_COMPARISON), class_="note"),
        tag("h2", "Channels kept"),
        _legend(("popcount", "searched"), ("fma", "uniform"), ("none", "full network")),
        tag("div", _kept(report), class_="wide"),
        *_front(report),
        *_times(report),
        tag("h2", "History"),
        tag("div", curves(*report.history(), "Accuracy by generation"), class_="wide"),
        tag("p", text(_HISTORY), class_="note"),
        *_trust(report),
    )


_VERDICT = (
    "Both were trained from scratch by one recipe, compiled, timed in turns with one another, and"
    " given test images. Uniform is the largest scaling of the full network that measures within"
    " the budget, grown to the ends of its steps as the searched plan is."
)
_COMPARISON = (
    "Costs are predicted, with the last correction. Accuracies are those of images that nothing was"
    " chosen by, after training each plan from scratch; inherited accuracy is the search's filter,"
    " with the supernet's weights."
)
_HISTORY = (
    "Dark: the best accuracy so far, with inherited weights, on the images that plans are chosen"
    " by. Pale: the mean of each generation."
)
_FRONT = (
    "A dot is a candidate; the line joins those that no other beats in accuracy and every cost."
    " Point at a dot for its plan."
)
_TIMES = "A dot is a plan that was compiled and timed. On the line both are equal."
_TRUST = (
    "A dot is a plan that was trained shortly. Where inherited accuracy ranks plans wrongly, the"
    " search has looked for the wrong ones: train the supernet longer."
)


def _verdict(report: SearchReport) -> list[str]:
    """Searched against uniform as they were shipped; nothing where they were not timed."""
    entries = [e for e in report.entries()[:2] if e.shipped and e.shipped.seconds]
    if len(entries) < 2:
        return []
    most = max(e.final or 0.0 for e in entries)
    equal = most / min(e.final or 0.0 for e in entries) - 1
    rows = []
    for entry in entries:
        made = entry.shipped
        assert made is not None and made.seconds is not None
        own = "" if made.accuracy is None else f"{made.accuracy:.1%} of {made.images}"
        rows.append(
            [
                entry.name + (" (shipped)" if entry.name == report.winner else ""),
                shown(made.seconds, "s"),
                entry.test.text(),
                own,
                shown(made.bytes, "B"),
                made.file,
            ]
        )
    columns = ["plan", "measured", "tested", "the artifact's own", "size", "file"]
    return [
        tag("h2", f"Searched against uniform at equal measured time (within {equal:.1%})"),
        tag("div", html.table(columns, rows, {"plan": "left", "file": "left"}), class_="wide"),
        tag("p", text(_VERDICT), class_="note"),
    ]


def _legend(*items: tuple[str, str]) -> str:
    marks = [tag("li", tag("i", class_=kind), text(words)) for kind, words in items]
    return tag("ul", *marks, class_="legend")


def _comparison(report: SearchReport) -> str:
    limits = report.result.prices.limits
    columns = [
        "plan",
        *(f"{x.costs.name} ({x.budget.text})" for x in limits),
        "measured",
        "inherited",
        "chosen by",
        "tested",
        "channels",
    ]
    rows = []
    for entry in report.entries():
        shipped = " (shipped)" if entry.name == report.winner else ""
        rows.append(
            [
                entry.name + shipped,
                *(shown(c, x.budget.unit) for c, x in zip(entry.costs, limits, strict=True)),
                "" if entry.measured is None else shown(entry.measured, "s"),
                "" if entry.inherited is None else f"{entry.inherited:.1%}",
                entry.validation.text(),
                entry.test.text(),
                ", ".join(str(v) for v in entry.plan.values()),
            ]
        )
    return html.table(columns, rows, {"plan": "left", "channels": "wraps"})


def _kept(report: SearchReport) -> str:
    searched, uniform, full = (e.plan for e in report.entries())
    rows = [(n, full[n], searched[n], uniform[n]) for n in full if not n.endswith(".groups")]
    groups = [[n, str(searched[n]), str(uniform[n])] for n in full if n.endswith(".groups")]
    chart = kept(rows, "Channels kept of each group")
    if not groups:
        return chart
    columns = ["convolution", "groups, searched", "uniform"]
    return chart + html.table(columns, groups, {"convolution": "left"})


def _front(report: SearchReport) -> list[str]:
    """A scatter for each budget."""
    candidates = [c for c in report.result.state.history if c.accuracy >= 0]
    best = report.front()
    if not candidates:
        return []
    costs, front_costs = (report.costs([c.plan for c in some]) for some in (candidates, best))
    parts = [
        tag("h2", "Accuracy against cost"),
        _legend(("none", "candidate"), ("memory", "front"), ("popcount", "searched")),
    ]
    for i, limit in enumerate(report.result.prices.limits):
        name, factor = _UNITS.get(limit.budget.unit, (f"M {limit.budget.unit}", 1e-6))
        dots = []
        for row, candidate in zip(costs, candidates, strict=True):
            chosen = candidate.plan == report.result.searched
            kind = "popcount" if chosen else "memory" if candidate in best else "none"
            words = f"{candidate.accuracy:.1%}, {shown(row[i], limit.budget.unit)}: "
            words += ", ".join(f"{n} {c}" for n, c in candidate.plan.items())
            dots.append(Dot(row[i], candidate.accuracy, kind, words, 7.0 if chosen else 4.0))
        dots.sort(key=lambda d: ("none", "memory", "popcount").index(d.kind))
        line = sorted((r[i], c.accuracy) for r, c in zip(front_costs, best, strict=True))
        chart = scatter(
            dots,
            Axis(name, factor=factor),
            _ACCURACY,
            f"Accuracy against {limit.costs.name}",
            front=line if len(report.result.prices.limits) == 1 else (),
            limit=limit.budget.limit,
        )
        parts.append(tag("div", chart, class_="wide"))
    return [*parts, tag("p", text(_FRONT), class_="note")]


def _times(report: SearchReport) -> list[str]:
    found = report.times()
    if not found:
        return []
    dots = [
        Dot(
            predicted,
            measured,
            "popcount" if plan == report.result.searched else "none",
            f"predicted {shown(predicted, 's')}, measured {shown(measured, 's')}",
        )
        for plan, predicted, measured in found
    ]
    across, up = Axis("predicted, us", factor=1e6), Axis("measured, us", factor=1e6)
    chart = scatter(dots, across, up, "Measured against predicted time", diagonal=True)
    errors = [abs(m / p - 1) for _, p, m in found]
    rows = [
        [", ".join(map(str, plan.values())), shown(p, "s"), shown(m, "s"), f"{m / p - 1:+.1%}"]
        for plan, p, m in found
    ]
    columns = ["channels", "predicted", "measured", "difference"]
    return [
        tag("h2", "Predicted against measured time"),
        tag("div", chart, class_="wide"),
        tag("div", html.table(columns, rows, {"channels": "wraps"}), class_="wide"),
        tag("p", text(f"{_TIMES} Mean difference {sum(errors) / len(errors):.1%}."), class_="note"),
    ]


def _trust(report: SearchReport) -> list[str]:
    found, rank = report.trust(), report.correlation()
    if rank is None:
        return []
    dots = [
        Dot(
            inherited,
            trained,
            "fma" if plan == report.result.uniform else "popcount",
            f"inherited {inherited:.1%}, trained {trained:.1%}",
        )
        for plan, inherited, trained in found
    ]
    chart = scatter(
        dots, _ACCURACY, Axis("after short training", " %", 100), "Trained against inherited"
    )
    return [
        tag("h2", "Can inherited accuracy be believed?"),
        _legend(("popcount", "searched"), ("fma", "uniform")),
        tag("div", chart, class_="wide"),
        tag("p", text(f"Rank correlation (Spearman) {rank:.2f}. {_TRUST}"), class_="note"),
    ]
