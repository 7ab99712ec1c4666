"""Which instructions of a program for another CPU run, and how often, by QEMU's user mode."""

import functools
import os
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

#: Of an instruction.
_BYTES = 4
_PLUGIN = Path(__file__).with_name("qemu_count.c")


@dataclass(frozen=True)
class Block:
    """Instructions that ran one after the other, `executions` times, in the function `symbol`."""

    address: int
    instructions: int
    executions: int
    symbol: str

    @property
    def total(self) -> int:
        """Instructions executed."""
        return self.instructions * self.executions


def count(program: Path, arch: str = "aarch64") -> list[Block]:
    """The blocks of one run of `program`, which is static; needs qemu-user and a C compiler.

    QEMU cuts long ones in pieces: those are joined again.
    """
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        subprocess.run(
            [f"qemu-{arch}", "-plugin", str(_plugin()), str(program)],
            env={**os.environ, "COUNTS": str(counts)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        rows = [line.split(maxsplit=3) for line in counts.read_text().splitlines()]
    # A block that was translated again has another counter.
    found: dict[tuple[int, int, str], int] = {}
    for address, instructions, executions, symbol in rows:
        key = (int(address), int(instructions), symbol)
        found[key] = found.get(key, 0) + int(executions)
    joined: list[Block] = []
    for (address, instructions, symbol), executions in sorted(found.items()):
        last = joined[-1] if joined else None
        follows = last and last.address + _BYTES * last.instructions == address
        if last and follows and (last.executions, last.symbol) == (executions, symbol):
            joined[-1] = replace(last, instructions=last.instructions + instructions)
        else:
            joined.append(Block(address, instructions, executions, symbol))
    return joined


@functools.cache
def _plugin() -> Path:
    """The plugin, built once in this process."""
    _plugin_folder.append(tempfile.TemporaryDirectory(prefix="bnn-qemu-"))
    shared = Path(_plugin_folder[0].name) / "count.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(shared), str(_PLUGIN)], check=True)
    return shared


_plugin_folder: list[tempfile.TemporaryDirectory[str]] = []
