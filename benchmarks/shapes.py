"""Channel counts off the grid, and batches: `python -m benchmarks.shapes`.

Single 3x3 layers with batch norm, shortcut and packing, with the schedules a compilation would
take. A pruned layer is held against the time interpolated between the next multiples of 32 channels
around it; a batch against the rate of one image.
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine, report
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device.measure import fastest
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.tune import harness

#: (channels, side) of pruned layers.
PRUNED = ((51, 56), (101, 28), (202, 14), (389, 7))
#: (channels, side) of the layers run in batches.
BATCHED = ((64, 56), (256, 14))
BATCHES = (1, 8, 32)
_ROUNDS = 5
_EPILOGUE = Epilogue((Step("affine", (0, 1)), Step("add", (2,))), (Output(), Output(">=", 3)))


def layer(channels: int, side: int, batch: int = 1) -> Task:
    """A 3x3 layer of a residual network."""
    x = Layout((batch, side, side, channels), "uint32", (1, 1, 1, 1))
    shape = (batch, side, side, channels)
    work = ConvWorkload(x, shape, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1)
    return Task(work, _EPILOGUE, (None, None, Layout(shape, "float32"), None))


@dataclass(frozen=True)
class Timed:
    """One layer; ``expected_us`` is what the comparison predicts."""

    layer: str
    source: str
    us: float
    gmacs: float
    expected_us: float

    @property
    def ratio(self) -> float:
        return self.us / self.expected_us


def seconds(tasks: list[Task], schedules: Schedules) -> list[float]:
    """The least seconds of each, measured in turns."""
    with tempfile.TemporaryDirectory() as folder:
        programs = []
        for number, task in enumerate(tasks):
            choice = schedules.pick(task)
            stem = Path(folder) / str(number)
            programs.append(
                harness.build(choice.function, task, choice.point, schedules.target, stem)
            )
        rounds = [[fastest(p) for p in programs] for _ in range(_ROUNDS)]
    return [float(v) for v in np.min(rounds, axis=0)]


def pruned(schedules: Schedules) -> list[Timed]:
    """Layers off the grid against the line between their neighbours on it."""
    found = []
    for channels, side in PRUNED:
        low = channels // 32 * 32
        tasks = [layer(c, side) for c in (channels, low, low + 32)]
        here, below, above = seconds(tasks, schedules)
        # Multiply-accumulates grow with the square of the channels.
        share = (channels**2 - low**2) / ((low + 32) ** 2 - low**2)
        expected = below + share * (above - below)
        found.append(_timed(tasks[0], schedules, here, expected))
    return found


def batches(schedules: Schedules) -> list[Timed]:
    """Batches against the same number of single images."""
    found = []
    for channels, side in BATCHED:
        tasks = [layer(channels, side, batch) for batch in BATCHES]
        times = seconds(tasks, schedules)
        for task, batch, time in zip(tasks, BATCHES, times, strict=True):
            found.append(_timed(task, schedules, time, batch * times[0]))
    return found


def _timed(task: Task, schedules: Schedules, time: float, expected: float) -> Timed:
    source = schedules.pick(task).source
    return Timed(str(task), source, 1e6 * time, task.work.macs / time / 1e9, 1e6 * expected)


def table(rows: list[Timed]) -> str:
    """As Markdown."""
    lines = [
        "| layer | schedule | us | GMAC/s | expected us | ratio |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.layer} | {r.source} | {r.us:.1f} | {r.gmacs:.0f} | {r.expected_us:.1f}"
        f" | {r.ratio:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Odd channel counts, and batches.")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--target", default="native")
    parser.add_argument("--name", default="shapes", help="name of the result files")
    options = parser.parse_args()
    described = machine.describe()
    core = machine.pin(options.core)
    schedules = Schedules.load(targets.load(options.target))
    with machine.LoadMeter() as meter:
        odd, many = pruned(schedules), batches(schedules)
    text = f"Pruned, against their neighbours:\n\n{table(odd)}\n\nBatches:\n\n{table(many)}"
    path = report.write(
        options.name,
        text,
        report.Setting(described, core, meter.load),
        options=vars(options),
        pruned=[asdict(r) for r in odd],
        batches=[asdict(r) for r in many],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
