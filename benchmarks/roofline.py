"""The peaks of one core of this CPU, and how long the arithmetic of whole networks takes at least.

`python -m benchmarks.roofline` measures them (bnn_compiler.roofline, x86-64 only) on one core and
prints them, and the bound of each network of the comparison.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import machine
from bnn_compiler.roofline import rates


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one inference: in binary layers and in float32 layers.

    Taps in zero padding do not count (8 % of Bi-Real-18's): a kernel may skip them.
    """

    binary: int
    floating: int


# Convolutions and dense layers only, 224x224, batch 1.
NETWORKS = {
    "birealnet18": Work(binary=1_544_396_800, floating=135_994_112),
    "reactnet_a": Work(binary=4_463_681_536, floating=11_797_600),
}


def shortest(peaks: Mapping[str, float], work: Work) -> float:
    """Seconds that the arithmetic of `work` takes when every instruction issues at its peak."""
    popcount = max(value for name, value in peaks.items() if name.startswith("popcount_"))
    fma = max(value for name, value in peaks.items() if name.startswith("fma_"))
    return 1e-9 * (work.binary / popcount + work.floating / fma)


def main() -> None:
    parser = argparse.ArgumentParser(description="Peaks of one core of this CPU.")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    core = machine.pin(parser.parse_args().core)
    print(f"{machine.describe().cpu}, core {core}")
    with machine.LoadMeter() as meter:
        peaks = rates()
    for name, value in peaks.items():
        unit = "GB/s" if name.startswith(("read_", "copy_")) else "GMAC/s"
        print(f"{name:<26} {value:8.1f} {unit}")
    for name, work in NETWORKS.items():
        print(f"{name}: at least {1e3 * shortest(peaks, work):.2f} ms")
    print(meter.load)


if __name__ == "__main__":
    main()
