"""Tuning as it goes (a progress bar) and as it ended (a table)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bnn_compiler.tune.outcome import Tell, TuningProgress, TuningReport

COLUMNS = ("kernel", "family", "tile", "us", "rule us", "best / rule", "% of roofline", "trials")


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
        point, bound = record.point, report.bounds.get(record.task.key)
        found.append(
            [
                str(record.task),
                point.family,
                point.tile,
                f"{record.seconds * 1e6:.1f}",
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
    if report.quality:
        q = report.quality
        lines.append(
            f"cost model on workloads left out of its training: rank correlation {q.rank:.2f},"
            f" error {q.error:.0%}, its pick takes {q.pick:.2f} of the best's time"
            f" ({q.tasks} kernels, {q.samples} samples)"
        )
    return lines


def as_dict(report: TuningReport) -> dict[str, Any]:
    """The JSON form."""
    return {
        "records": [r.as_dict() for r in report.records],
        "trials": report.trials,
        "failed": report.failed,
        "path": str(report.path),
        "quality": None if report.quality is None else vars(report.quality),
    }
