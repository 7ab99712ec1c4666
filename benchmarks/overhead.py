"""What a call of a small network costs beyond its kernels: `python -m benchmarks.overhead`.

Each program is timed alone in turn with the steps by themselves: the same workspace and pointers,
called through ctypes with nothing checked. The difference is what `run` adds: checks, addresses, a
new array for the result. The kernels' own times, as `profile` adds them up, are there to compare.
"""

import argparse
import ctypes
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import bnn_compiler
from benchmarks import machine, report
from benchmarks.timing import Program, alternate
from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.runtime import Artifact


def small() -> tuple[nn.Module, torch.Tensor]:
    """A network of a few microseconds."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        Sign(),
        BinaryConv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    ).eval()
    return model, torch.randn(1, 3, 8, 8)


def xnornet() -> tuple[nn.Module, torch.Tensor]:
    """A small image classifier."""
    return zoo.xnornet(width=0.2).eval(), torch.randn(1, 3, 32, 32)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "small": small,
    "xnornet": xnornet,
}


def steps_alone(artifact: Artifact, x: np.ndarray) -> Program:
    """All steps of a network as one C call whose arguments never change."""
    artifact.run(x)
    session = bnn_compiler.runtime.Session(artifact)
    session.inputs = [x]
    arrays = (session.inputs, session.outputs)
    ins, outs = ((ctypes.c_void_p * len(a))(*(v.ctypes.data for v in a)) for a in arrays)
    call = artifact.executor.library().run_steps
    arguments = (
        ctypes.c_void_p(ctypes.addressof(ins)),
        ctypes.c_void_p(ctypes.addressof(outs)),
        ctypes.c_void_p(session.workspace.ctypes.data),
        ctypes.c_int32(0),
        ctypes.c_int32(len(artifact.manifest["steps"])),
        ctypes.c_void_p(None),
    )
    held = (artifact, session, ins, outs)
    return lambda: (call(*arguments), held)


def programs(artifact: Artifact, x: torch.Tensor) -> dict[str, Program]:
    """Ways to run one network, by name; the first is what the others are compared with."""
    array, out = x.numpy(), np.empty(artifact.manifest["outputs"][0]["shape"], np.float32)
    return {
        "steps alone": steps_alone(artifact, array),
        "run(x)": lambda: artifact.run(array),
        "run(x, out=y)": lambda: artifact.run(array, out=out),
        "run(x, check_finite=False)": lambda: artifact.run(array, check_finite=False),
        "run(tensor)": lambda: artifact.run(x),
    }


def measure(network: str, target: str, seconds: float) -> list[dict[str, object]]:
    """A row for each program, in microseconds."""
    model, x = NETWORKS[network]()
    zoo.randomize(model, x)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.bnn"
        artifact = bnn_compiler.compile(model, (x,), target=target, output=path)
    timings = alternate(programs(artifact, x), seconds=seconds)
    layers = artifact.profile(x, repeat=2000)
    rows: list[dict[str, object]] = [
        {
            "network": network,
            "program": "layers, by profile",
            "median_us": 1e6 * sum(layer.seconds for layer in layers),
            "minimum_us": 1e6 * sum(layer.seconds_min for layer in layers),
        }
    ]
    base = next(iter(timings.values()))
    for name, timing in timings.items():
        rows.append(
            {
                "network": network,
                "program": name,
                "median_us": 1e6 * timing.median,
                "minimum_us": 1e6 * timing.minimum,
                "beyond_steps_median_us": 1e6 * (timing.median - base.median),
                "beyond_steps_minimum_us": 1e6 * (timing.minimum - base.minimum),
                "runs": timing.runs,
            }
        )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| network | program | median us | minimum us | beyond the steps: median | minimum |",
        "|---|---|---:|---:|---:|---:|",
    ]
    keys = ("median_us", "minimum_us", "beyond_steps_median_us", "beyond_steps_minimum_us")
    for row in rows:
        numbers = [f"{row[k]:.1f}" if k in row else "" for k in keys]
        lines.append(f"| {row['network']} | {row['program']} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a call costs beyond its kernels.")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each network")
    parser.add_argument("--core", type=int, help="default: the last one")
    parser.add_argument("--target", default="native")
    parser.add_argument("--name", default="overhead", help="name of the result files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    described = machine.describe()
    core = machine.pin(options.core)
    with machine.LoadMeter() as meter:
        rows = [
            row for n in options.networks for row in measure(n, options.target, options.seconds)
        ]
    setting = report.Setting(described, core, meter.load)
    path = report.write(options.name, table(rows), setting, options=vars(options), rows=rows)
    print(path.read_text())


if __name__ == "__main__":
    main()
