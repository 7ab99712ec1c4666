"""This checkout against another one of this project: `python -m benchmarks.commits ../before`.

Each compiles the networks by itself, in a process of its own; the two libraries then take turns in
this process, called as C programs call them. Their outputs are compared, bit for bit.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, report
from benchmarks.report import OURS
from benchmarks.timing import alternate

NETWORKS = ("birealnet18", "reactnet_a")
BEFORE = "before"
_COMPILE = """
import sys, torch, bnn_compiler
from bnn_compiler import zoo
name, target, output = sys.argv[1:]
torch.manual_seed(0)
model, x = zoo.get(name)(), torch.randn(1, 3, 224, 224)
zoo.randomize(model, x)
net = bnn_compiler.compile(model, (x,), target=target, output=output, name="net", as_folder=True)
print(net.manifest["workspace_bytes"], *net.manifest["outputs"][0]["shape"])
"""


def compiled(
    checkout: Path, network: str, target: str, folder: Path
) -> tuple[Callable[[], object], NDArray[np.float32]]:
    """(one run of the network that ``checkout`` compiles, where its output lies)."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _COMPILE, network, target, str(folder)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    size, *shape = (int(v) for v in ran.stdout.split())
    run = ctypes.CDLL(str(folder / "net.so")).net_run
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    y = np.zeros(shape, np.float32)
    memory = np.zeros(size + 64, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % 64
    pointers = [ctypes.c_void_p(p) for p in (x.ctypes.data, y.ctypes.data, start)]

    def call() -> object:
        assert memory.size and x.size
        return run(*pointers)

    return call, y


def main() -> None:
    parser = argparse.ArgumentParser(description="This checkout against another one.")
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--target", default="native")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each network")
    parser.add_argument("--name", default="commits", help="name of the result files")
    options = parser.parse_args()
    described = machine.describe()
    here = Path(__file__).resolve().parents[1]
    core = machine.pin()
    rows, same = [], {}
    with tempfile.TemporaryDirectory() as scratch, machine.LoadMeter() as meter:
        for network in NETWORKS:
            ours, y = compiled(here, network, options.target, Path(scratch) / f"{network}-new")
            theirs, before = compiled(
                options.before.resolve(), network, options.target, Path(scratch) / f"{network}-old"
            )
            ours(), theirs()
            same[network] = bool(np.array_equal(y, before))
            timings = alternate({OURS: ours, BEFORE: theirs}, seconds=options.seconds)
            rows += report.rows(network, timings)
    bits = ", ".join(f"{n} {'equal' if equal else 'differ'}" for n, equal in same.items())
    path = report.write(
        options.name,
        f"Bits of the outputs: {bits}.\n\n{report.table(rows, {})}",
        report.Setting(described, core, meter.load),
        options={**vars(options), "before": options.before.name},
        rows=[vars(row) for row in rows],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
