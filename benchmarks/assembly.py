"""Machine code of ARM kernels: its text, its cycles by llvm-mca, and how few instructions do."""

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bnn_compiler.kernels.cpu.popcount import PopcountPoint

#: LLVM's models. It has none of the A76; the Neoverse N1 is the same core for servers.
MODELS = {"cortex-a53": "cortex-a53", "cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}
_TARGET = re.compile(r"^((?:b|bl|b\.\w+|cbn?z|tbn?z|adrp?)\s(?:.*,\s*)?)(?:0x[0-9a-f]+|\.LBB).*$")

_BRANCH = re.compile(r"^(?:b\.\w+|cbn?z|tbn?z)\s(?:.*,\s*)?0x([0-9a-f]+)")


def tool(name: str) -> str:
    """The newest of an LLVM tool that is installed. Raises FileNotFoundError if there is none."""
    names = [f"{name}-{version}" for version in range(25, 13, -1)] + [name]
    for each in names:
        if shutil.which(each):
            return each
    raise FileNotFoundError(f"no {name}; install LLVM's tools (apt install llvm)")


def disassemble(program: Path) -> dict[int, str]:
    """Each instruction of an ELF file by its address."""
    command = [tool("llvm-objdump"), "-d", "--no-show-raw-insn", str(program)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", text, flags=re.MULTILINE)
    return {int(at, 16): instruction.replace("\t", " ") for at, instruction in lines}


def cycles(body: Sequence[str], model: str) -> float:
    """Cycles that llvm-mca predicts for `body` once, in the steady state of many iterations.

    Its branches are taken to come back to its start.
    """
    text = "\n".join(["L:", *(_TARGET.sub(r"\1L", line) for line in body)])
    command = [tool("llvm-mca"), "-mtriple=aarch64", f"-mcpu={model}", "-iterations=100"]
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if not found:
        raise RuntimeError(f"llvm-mca: {done.stderr.strip()[:300]}")
    return int(found[1]) / 100


def loop_around(code: dict[int, str], address: int) -> list[str]:
    """The innermost loop that holds `address`: from a backward branch's target to the branch.

    Empty if there is none.
    """
    spans = []
    for at, instruction in code.items():
        jump = _BRANCH.match(instruction)
        if jump and int(jump[1], 16) <= address <= at:
            spans.append((int(jump[1], 16), at))
    if not spans:
        return []
    first, last = min(spans, key=lambda s: s[1] - s[0])
    return [code[at] for at in range(first, last + 4, 4)]


def ideal(point: PopcountPoint, counted: int) -> float:
    """Instructions of a popcount loop with ``counted`` cnt in its body, if nothing is in the way.

    For 128 bits of products eor, cnt and an accumulate; each weight is loaded once for the tile,
    two vectors at a time, each word of activations once, eight at a time, and copied to all lanes;
    two pointers move, a counter is compared, and the loop branches.
    """
    across = point.lanes * point.word // 128
    steps = counted / (point.pixels * across)
    loads = across * steps / 2 + point.pixels * math.ceil(steps * point.word / 128)
    return 3 * counted + loads + point.pixels * steps + 4


def innermost_loops(text: str) -> list[list[str]]:
    """The bodies of the loops of compiler output that hold no other loop."""
    lines = [re.split(r"//|\s#\s", line)[0].strip() for line in text.splitlines()]
    lines = [x for x in lines if x and (not x.startswith(".") or x.startswith(".LBB"))]
    labels: dict[str, int] = {}
    bodies = []
    for i, line in enumerate(lines):
        if line.endswith(":"):
            labels[line[:-1]] = i
            continue
        jump = re.search(r"^(?:b\.\w+|cbn?z|tbn?z|j\w+)\b.*?(\.LBB\w+)$", line)
        if jump and jump[1] in labels:
            body = [x for x in lines[labels[jump[1]] : i + 1] if not x.endswith(":")]
            if not any(".LBB" in x for x in body[:-1]):
                bodies.append(body)
    return bodies
