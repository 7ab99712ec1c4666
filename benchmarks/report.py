"""What a comparison reports: its rows as a table, the machine, and the files in results/."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import Load, Machine
from benchmarks.timing import Timing, ratio

RESULTS = Path(__file__).with_name("results")
OURS = "bnn_compiler"


@dataclass(frozen=True)
class Row:
    """One program on one network; times in ms, ratios are our time divided by this one's."""

    network: str
    program: str
    median_ms: float
    minimum_ms: float
    runs: int
    ratio_of_medians: float
    ratio_of_minima: float
    ratio_paired: float


@dataclass(frozen=True)
class Setting:
    """Where and under what load a comparison ran; pinned to one core, or to none."""

    machine: Machine
    core: int | None
    load: Load

    def __str__(self) -> str:
        cores = os.cpu_count()
        pinned = f"core {self.core} of {cores}, one thread"
        where = f"{cores} cores" if self.core is None else pinned
        return f"{self.machine.cpu}, {where}; {self.load}"


def rows(network: str, timings: Mapping[str, Timing]) -> list[Row]:
    """The table rows of one network; `timings` has one entry named OURS."""
    result = []
    for name, timing in timings.items():
        share = ratio(timings[OURS], timing)
        result.append(
            Row(
                network=network,
                program=name,
                median_ms=1e3 * timing.median,
                minimum_ms=1e3 * timing.minimum,
                runs=timing.runs,
                ratio_of_medians=share.medians,
                ratio_of_minima=share.minima,
                ratio_paired=share.paired,
            )
        )
    return result


def table(all_rows: Sequence[Row], bounds_ms: Mapping[str, float]) -> str:
    """The rows as a Markdown table; ratios under 1 say that bnn_compiler is the faster one.

    `bounds_ms` has the least milliseconds that the arithmetic of a network takes.
    """
    lines = [
        "| network | program | median ms | minimum ms | ours / this: medians | minima | paired |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in all_rows:
        lines.append(
            f"| {row.network} | {row.program} | {row.median_ms:.2f} | {row.minimum_ms:.2f} "
            f"| {_share(row.ratio_of_medians)} | {_share(row.ratio_of_minima)} "
            f"| {_share(row.ratio_paired)} |"
        )
    for network, bound in bounds_ms.items():
        lines.append(f"| {network} | arithmetic at peak rate | | {bound:.2f} | | | |")
    return "\n".join(lines)


def as_json(value: object, indent: int) -> str:
    """Strict JSON, which has no NaN and no infinity: they become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(name: str, markdown: str, setting: Setting, **parts: object) -> Path:
    """Write results/<name>.md and .json, which has `parts` too; returns the path of the table."""
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(setting.machine),
        "core": setting.core,
        "load": asdict(setting.load),
        **parts,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(as_json(record, indent=2))
    path = RESULTS / f"{name}.md"
    path.write_text(f"{markdown}\n\n{setting}\n")
    return path


def _share(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
