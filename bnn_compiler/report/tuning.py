"""Tuning as it goes (a progress bar) and as it ended (a table)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bnn_compiler.cost.records import Record
from bnn_compiler.tune.outcome import Tell, TuningProgress, TuningReport

COLUMNS = (
    "kernel",
    "family",
    "tile",
    "us",
    "inside us",
    "rule us",
    "best / rule",
    "% of roofline",
    "trials",
)


@contextmanager
def live(quiet: bool = False) -> Iterator[Tell]:
    """A progress bar on stderr; where that is no terminal, one line for each batch."""
    terminal = sys.stderr.isatty()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet or not terminal,
    )
    shown = bar.add_task("starting", total=None)

    def update(state: TuningProgress) -> None:
        words = text(state)
        if not quiet and not terminal:
            print(f"{state.trials} of at most {state.most} trials: {words}", file=sys.stderr)
        bar.update(shown, description=words, completed=state.trials, total=state.most)

    with bar:
        yield update


def text(state: TuningProgress) -> str:
    """The state in words: the best against the rule, and against the roofline."""
    bound = f", roofline {state.bound * 1e3:.2f} ms" if state.bound else ""
    failed = f", {state.failed} failed" if state.failed else ""
    gain = f"{state.best / state.rule:.2f} of {state.rule * 1e3:.2f} ms" if state.rule else "?"
    return f"best {gain}{bound}{failed} | {state.task}"


def rows(report: TuningReport) -> list[list[str]]:
    """One row for each kernel."""
    found = []
    for record in report.records:
        key = record.task.key
        point, bound, inside = record.point, report.bounds.get(key), report.inside.get(key)
        found.append(
            [
                str(record.task),
                point.family,
                point.tile,
                f"{record.seconds * 1e6:.1f}",
                f"{inside * 1e6:.1f}" if inside else "",
                f"{record.rule_seconds * 1e6:.1f}" if record.rule_seconds else "",
                f"{record.seconds / record.rule_seconds:.2f}" if record.rule_seconds else "",
                f"{100 * bound / record.seconds:.0f}" if bound else "",
                str(record.trials),
            ]
        )
    return found


def summary(report: TuningReport) -> list[str]:
    """What to say below the table."""
    lines = [f"{report.trials} trials, {report.failed} failed; records in {report.path}"]
    both = [(r.seconds, report.inside[r.task.key]) for r in report.records if _is_known(report, r)]
    if both:
        alone, inside = (sum(column) for column in zip(*both, strict=True))
        lines.append(
            f"measured alone these kernels take {1e3 * alone:.3f} ms, each once; inside the network"
            f" {1e3 * inside:.3f}, {inside / alone:.2f} times that"
        )
    if report.quality:
        q = report.quality
        lines.append(
            f"cost model on workloads left out of its training: rank correlation {q.rank:.2f},"
            f" error {q.error:.0%}, its pick takes {q.pick:.2f} of the best's time"
            f" ({q.tasks} kernels, {q.samples} samples)"
        )
    return lines


def _is_known(report: TuningReport, record: Record) -> bool:
    return record.task.key in report.inside


def as_dict(report: TuningReport) -> dict[str, Any]:
    """The JSON form."""
    return {
        "records": [r.as_dict() for r in report.records],
        "inside_seconds": [report.inside.get(r.task.key) for r in report.records],
        "trials": report.trials,
        "failed": report.failed,
        "path": str(report.path),
        "quality": None if report.quality is None else vars(report.quality),
    }
