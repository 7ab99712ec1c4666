"""Two threads against one: `python -m benchmarks.threads`.

The same artifact is run with 1 and with `--threads` threads in turn; nothing is pinned, so the
machine must have that many cores to spare.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks import machine, report
from benchmarks.end_to_end import compile_ours
from benchmarks.report import OURS
from benchmarks.timing import Program, alternate

NETWORKS = ("birealnet18", "reactnet_a")


def _run(artifact: object, threads: int, x: object) -> None:
    artifact.set_threads(threads)  # type: ignore[attr-defined]
    artifact.run(x)  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description="Several threads against one.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each network")
    parser.add_argument("--target", default="native")
    parser.add_argument("--name", default="threads", help="name of the result files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    described = machine.describe()
    rows = []
    with tempfile.TemporaryDirectory() as folder, machine.LoadMeter() as meter:
        for network in NETWORKS:
            subject = compile_ours(network, options.target, Path(folder))
            x = subject.ours[0]
            programs: dict[str, Program] = {
                OURS: partial(_run, subject.artifact, options.threads, x),
                "one thread": partial(_run, subject.artifact, 1, x),
            }
            rows += report.rows(network, alternate(programs, seconds=options.seconds))
    setting = report.Setting(described, None, meter.load)
    path = report.write(
        options.name,
        f"{options.threads} threads are `{OURS}`.\n\n{report.table(rows, {})}",
        setting,
        options=vars(options),
        rows=[vars(row) for row in rows],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
