"""Cortex cores without a board: instructions counted under QEMU, cycles predicted by llvm-mca.

`python -m benchmarks.arm` compiles each network for each core, runs it once under qemu-user with a
plugin that counts every block of code, and asks llvm-mca for each block's cycles. It writes
results/arm.md and .json. A prediction knows the core's pipes and latencies but no caches and no
memory: nothing here is a measured time. Needs qemu-user, LLVM's tools and zig.
"""

import argparse
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import bnn_compiler
from benchmarks import assembly, qemu, quicknet, report
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.deploy.cpu import link
from bnn_compiler.kernels.cpu.popcount import PopcountPoint

#: GHz of the boards that have these cores: Raspberry Pi 3B+, 4 and 5.
CLOCKS = {"cortex-a53": 1.4, "cortex-a72": 1.5, "cortex-a76": 2.4}
NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "birealnet18": zoo.birealnet18,
    "reactnet_a": zoo.reactnet_a,
    "quicknet": quicknet.QuickNet,
}
#: What others published, one thread, ms. A Pixel 1 has two Kryo cores of 2.15 GHz, out of order
#: and about as wide as a Cortex-A72.
PUBLISHED = {
    "birealnet18": "41.6 Larq (Pixel 1), 61.3 daBNN (Pixel 1)",
    "quicknet": "45.0 Larq (Pi 4), 25.5 Larq (Pixel 1)",
    "64@56": "1.31 daBNN (Pixel 1)",
    "128@28": "0.96 daBNN (Pixel 1)",
    "256@14": "0.98 daBNN (Pixel 1)",
    "512@7": "1.28 daBNN (Pixel 1)",
}
#: The 3x3 layers of ResNet-18 as birealnet18 has them.
LAYERS = {
    "stages_0_1_conv": "64@56",
    "stages_1_1_conv": "128@28",
    "stages_2_1_conv": "256@14",
    "stages_3_1_conv": "512@7",
}
#: Blocks that run less often than this share of the program are charged the others' cycles.
_RARE = 1e-4

_MAIN = """\
#include "net.h"

static float in[{inputs}] __attribute__((aligned(64))), out[{outputs}];
static unsigned char workspace[NET_WORKSPACE_BYTES]
    __attribute__((aligned(NET_WORKSPACE_ALIGN)));

int main(void) {{ return net_run(in, out, workspace); }}
"""


@dataclass(frozen=True)
class Kernel:
    """One kernel call: instructions, predicted cycles, and how near its inner loop is to ideal.

    `loop` is the inner loop's instructions over those of assembly.ideal; NaN if there is none.
    """

    core: str
    network: str
    layer: str
    op: str
    macs: int
    instructions: float
    cycles: float
    loop: float

    @property
    def milliseconds(self) -> float:
        """At the board's clock."""
        return self.cycles / CLOCKS[self.core] / 1e6


def build(
    network: str, core: str, folder: Path, rest: str = "float32"
) -> tuple[dict[str, Any], Path]:
    """The manifest, and a static program that runs the network once on zeros.

    ``rest`` is as in ``compile``; for int8 the example input says the ranges.
    """
    torch.manual_seed(0)
    model, x = NETWORKS[network](), torch.randn(1, 3, 224, 224)
    zoo.randomize(model, x)
    artifact = bnn_compiler.compile(
        model,
        (x,),
        target=core,
        output=folder / "net",
        name="net",
        as_folder=True,
        rest=rest,
        calibration=None if rest == "float32" else [x],
    )
    manifest = artifact.manifest
    counts = [torch.Size(manifest[k][0]["shape"]).numel() for k in ("inputs", "outputs")]
    source = folder / "net" / "main.c"
    source.write_text(_MAIN.format(inputs=counts[0], outputs=counts[1]))
    device = targets.load(core)
    tools = link.toolchain(device.arch, device.link)
    # Symbols are what the blocks are told apart by.
    command = [word for word in tools.program if word != "-s"]
    program = folder / "program"
    files = [str(source), str(folder / "net" / "net.a")]
    subprocess.run([*command, "-o", str(program), *files, "-lm"], check=True)
    return manifest, program


def predict(network: str, core: str, rest: str = "float32") -> list[Kernel]:
    """Every kernel call of one network on one core."""
    with tempfile.TemporaryDirectory() as name:
        manifest, program = build(network, core, Path(name), rest)
        code = assembly.disassemble(program)
        blocks = qemu.count(program)
    total = sum(b.total for b in blocks)
    by_kernel: dict[str, list[qemu.Block]] = defaultdict(list)
    for block in blocks:
        by_kernel[block.symbol.removesuffix("_compute_")].append(block)
    steps = manifest["steps"]
    times = {s["kernel"]: sum(o["kernel"] == s["kernel"] for o in steps) for s in steps}
    measured = {
        kernel: _kernel(by_kernel[kernel], code, assembly.MODELS[core], total * _RARE)
        for kernel in times
    }
    found = []
    for step in steps:
        instructions, cycles, body = measured[step["kernel"]]
        point = step["schedule"]["point"]
        popcount = step["binary"] and point["family"] == "popcount"
        loop = _loop(body, PopcountPoint.from_dict(point)) if popcount else float("nan")
        share = 1 / times[step["kernel"]]
        found.append(
            Kernel(
                core,
                network,
                step["name"],
                step["op"],
                step["macs"],
                instructions * share,
                cycles * share,
                loop,
            )
        )
    return found


def _kernel(
    blocks: list[qemu.Block], code: dict[int, str], model: str, rare: float
) -> tuple[int, float, list[str]]:
    """Instructions, cycles, and the loop where most of the counting is done."""
    total, counted, cycles = 0, 0, 0.0
    for block in blocks:
        total += block.total
        if block.total > rare:
            counted += block.total
            cycles += block.executions * assembly.cycles(_text(block, code), model)
    hottest = max(blocks, key=lambda b: b.executions * _counted(_text(b, code)))
    loop = assembly.loop_around(code, hottest.address)
    return total, cycles * total / max(counted, 1), loop


def _text(block: qemu.Block, code: dict[int, str]) -> list[str]:
    return [code[block.address + 4 * i] for i in range(block.instructions)]


def _counted(body: list[str]) -> int:
    return sum(line.startswith("cnt ") for line in body)


def _loop(body: list[str], point: PopcountPoint) -> float:
    """NaN where the reduction is so short that it is no loop, but part of its epilogue."""
    epilogue = any(line.startswith("scvtf ") for line in body)
    return float("nan") if epilogue else len(body) / assembly.ideal(point, _counted(body))


def _published(name: str, core: str) -> str:
    """Beside the core that is nearest to those they were measured on."""
    return PUBLISHED.get(name, "") if core == "cortex-a72" else ""


def layer_table(kernels: Sequence[Kernel]) -> list[str]:
    """The 3x3 layers of ResNet-18, in Markdown."""
    lines = [
        "| layer | core | instructions | per 128 bits | inner loop / ideal | cycles | ms, predicted"
        " | published ms |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for k in kernels:
        if k.network == "birealnet18" and k.layer in LAYERS:
            shape = LAYERS[k.layer]
            lines.append(
                f"| {shape} | {k.core} | {k.instructions / 1e6:.2f} M"
                f" | {k.instructions / (k.macs / 128):.2f} | {k.loop:.2f}"
                f" | {k.cycles / 1e6:.2f} M | {k.milliseconds:.2f} | {_published(shape, k.core)} |"
            )
    return lines


def network_table(kernels: Sequence[Kernel]) -> list[str]:
    """Whole networks, in Markdown."""
    lines = [
        "| network | core | instructions | binary layers | cycles | of them binary | ms, predicted"
        " | worst inner loop / ideal | published ms |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for network in NETWORKS:
        for core in CLOCKS:
            mine = [k for k in kernels if (k.network, k.core) == (network, core)]
            if not mine:
                continue
            binary = [k for k in mine if k.op == "bnn.conv2d"]
            instructions, cycles = (
                [sum(getattr(k, name) for k in part) / 1e6 for part in (mine, binary)]
                for name in ("instructions", "cycles")
            )
            worst = max(k.loop for k in binary if k.loop == k.loop)
            lines.append(
                f"| {network} | {core} | {instructions[0]:.1f} M | {instructions[1]:.1f} M"
                f" | {cycles[0]:.1f} M | {cycles[1]:.1f} M"
                f" | {sum(k.milliseconds for k in mine):.1f} | {worst:.2f}"
                f" | {_published(network, core)} |"
            )
    return lines


def text(kernels: Sequence[Kernel]) -> str:
    """The report."""
    clocks = ", ".join(f"{core} {ghz} GHz" for core, ghz in CLOCKS.items())
    return "\n".join(
        [
            "# ARM: counted instructions, predicted cycles",
            "",
            "One thread, 224x224, batch 1. Instructions are counted in one run under qemu-user."
            " Cycles are predictions of llvm-mca block by block: they know the core's pipes, not"
            f" its caches. No time here was measured. Clocks: {clocks}. LLVM has no model of the"
            " Cortex-A76; its row is predicted with the Neoverse N1's, the same core for servers.",
            "",
            "Published times are those of the papers and read-mes of Larq Compute Engine and daBNN,"
            " measured on the device named; daBNN pads with -1 and computes no batch norm or"
            " shortcut in these layers.",
            "",
            "## Networks",
            "",
            *network_table(kernels),
            "",
            "## 3x3 layers of ResNet-18 with batch norm, shortcut, float output and packing",
            "",
            "The ideal inner loop is eor, cnt and an accumulate for 128 bits of products, with one"
            " load of each weight and activation for a register tile, a copy of each activation to"
            " all lanes, and the loop itself.",
            "",
            *layer_table(kernels),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Predict and write results/arm.md and results/arm.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--cores", nargs="+", choices=list(CLOCKS), default=list(CLOCKS))
    parser.add_argument(
        "--rest", choices=["float32", "int8"], default="float32", help="as in bnnc compile"
    )
    parser.add_argument("--name", default="arm", help="of the result files")
    args = parser.parse_args(argv)
    kernels = [k for n in args.networks for core in args.cores for k in predict(n, core, args.rest)]
    written = text(kernels)
    print(written)
    report.RESULTS.mkdir(exist_ok=True)
    (report.RESULTS / f"{args.name}.md").write_text(written)
    rows = [asdict(k) for k in kernels]
    (report.RESULTS / f"{args.name}.json").write_text(report.as_json(rows, indent=1))


if __name__ == "__main__":
    main()
