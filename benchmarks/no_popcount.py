"""CPUs without a vector popcount: `python -m benchmarks.no_popcount`.

The binary layers of Bi-Real-18, compiled for x86-64-v3 and x86-64-v4, against the best that xor
and a popcount by byte shuffles can do: a register-blocked loop of those (roofline.c).
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import machine, report
from benchmarks.end_to_end import compile_ours
from bnn_compiler.roofline import rates

#: Target -> the loop of roofline.c that has the same instructions.
LOOPS = {"x86-64-v3": "popcount_avx2", "x86-64-v4": "popcount_avx512bw"}


@dataclass(frozen=True)
class Layers:
    """All binary layers of one build: GMAC/s by median and minimum times, and the loop's."""

    target: str
    median_gmacs: float
    minimum_gmacs: float
    loop_gmacs: float

    @property
    def ratio(self) -> float:
        """How much faster than the loop, by the minimum."""
        return self.minimum_gmacs / self.loop_gmacs


def measure(target: str, loop_gmacs: float, repeat: int) -> Layers:
    """Compile for ``target`` and profile."""
    with tempfile.TemporaryDirectory() as folder:
        subject = compile_ours("birealnet18", target, Path(folder))
        profiles = subject.artifact.profile(subject.ours[0], repeat=repeat)
    binary = [p for p in profiles if p.binary]
    macs = sum(p.macs for p in binary)
    median, least = (sum(getattr(p, k) for p in binary) for k in ("seconds", "seconds_min"))
    return Layers(target, 1e-9 * macs / median, 1e-9 * macs / least, loop_gmacs)


def table(rows: list[Layers]) -> str:
    """As Markdown."""
    lines = [
        "| build | binary layers, GMAC/s: median | minimum | shuffle-popcount loop | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.target} | {r.median_gmacs:.0f} | {r.minimum_gmacs:.0f} | {r.loop_gmacs:.0f}"
        f" | {r.ratio:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Table look-up against shuffle popcount.")
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--name", default="no_popcount", help="name of the result files")
    options = parser.parse_args()
    described = machine.describe()
    core = machine.pin(options.core)
    with machine.LoadMeter() as meter:
        peaks = rates()
        rows = [measure(t, peaks[loop], options.repeat) for t, loop in LOOPS.items()]
    path = report.write(
        options.name,
        table(rows),
        report.Setting(described, core, meter.load),
        peaks=peaks,
        options=vars(options),
        rows=[asdict(r) for r in rows],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
