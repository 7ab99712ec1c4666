"""The C around a GPU's kernels: a network as tables, which runtime/*.h run."""

import json
import math
import re
from collections.abc import Iterable, Mapping

from bnn_compiler.deploy.cuda import abi
from bnn_compiler.kernels.cuda.device_code import DeviceCode, Launch
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.plan.program import Argument, Buffer, Program, Step
from bnn_compiler.runtime.manifest import ALIGN

#: Bytes to which what is in the GPU's memory is aligned, as cuMemAlloc does.
_DEVICE_ALIGN = 256
_VERSION = re.compile(r"sm_(\d+)([af]?)")

_SOURCE = """\
#define _GNU_SOURCE
#include "{name}.h"
#define BNN(what) {name}_##what
#define bnn_network {name}_network
#define bnn_session {name}_session
#include "program.h"

extern const unsigned char {name}_weights[];
{externs}

/* What this was compiled as, to be checked before it is run: the SHA-256 of its manifest, the bytes
 * of the workspace, the numbers of steps, inputs and outputs, the bytes of each input and output.
 */
const struct {{
  unsigned char manifest[32];
  int64_t sizes[{count}];
}} {name}_info = {{
  {{{digest}}},
  {{{sizes}}},
}};

#define TARGETS "{targets}"
#define WEIGHTS_BYTES {weights}u
#define ARENA_BYTES {arena}ull
#define MEMORY_BYTES {memory}ull
enum {{
  KERNELS = {kernel_count},
  STEPS = {step_count},
  INPUTS = {inputs},
  OUTPUTS = {outputs},
  IMAGES = {image_count},
  FILLS = {fill_count},
  MOST_ARGUMENTS = {most},
}};

static const struct image images[] = {{
{images}
}};
static const struct kernel kernels[] = {{
{kernels}
}};
static const struct argument arguments[] = {{
{arguments}
}};
static const struct step steps[] = {{
{steps}
}};
static const struct fill fills[] = {{
{fills}
}};
static const struct tensor tensors[] = {{
{tensors}
}};
/* Where the workspace's memory holds copies of tensors of the host. */
static const uint64_t copies[] = {{{copies}}};

#include "run.h"
"""


def header(program: Program, name: str) -> str:
    """``NAME.h``."""
    shapes = [f"{b.name}: {b.layout.dtype} {b.external}" for b in program.inputs + program.outputs]
    return abi.HEADER.format(
        name=name,
        guard=name.upper(),
        steps=len(program.steps),
        shapes="\n".join(f" *   {line}" for line in shapes),
    )


def source(program: Program, name: str, code: DeviceCode, digest: str) -> str:
    """``NAME.c``; ``digest`` is the SHA-256 of the manifest, in hexadecimal."""
    tensors = [*program.inputs, *program.outputs]
    symbols = sorted({s.kernel for s in program.steps})
    early = waiting(code.ptx)
    arguments = [_arguments(program, s, code.launches[s.kernel]) for s in program.steps]
    firsts = [sum(map(len, arguments[:i])) for i in range(len(arguments))]
    copies, memory = _copies(program)
    filled = [b for b in program.buffers if b.kind == "arena" and _value(b)]
    sizes = [program.workspace, len(program.steps), len(program.inputs), len(program.outputs)]
    sizes += [_bytes(b) for b in tensors]
    labels = image_labels(code)
    return _SOURCE.format(
        name=name,
        externs="\n".join(f"extern const unsigned char {name}_{n}[];" for n in labels),
        count=len(sizes),
        digest=", ".join(map(str, bytes.fromhex(digest))),
        sizes=", ".join(map(str, sizes)),
        targets=described(code),
        weights=len(program.weights),
        arena=program.workspace,
        memory=memory,
        kernel_count=len(symbols),
        step_count=len(program.steps),
        inputs=len(program.inputs),
        outputs=len(program.outputs),
        image_count=len(labels),
        fill_count=len(filled),
        most=max(map(len, arguments), default=1),
        images=_lines(_image(name, label, arch) for label, arch in labels.items()),
        kernels=_lines(_kernel(code.launches[s], early) for s in symbols),
        arguments=_lines(", ".join(row) for row in arguments),
        steps=_lines(
            f"{{{symbols.index(s.kernel)}, {first}, {len(row)}}} /* {s.name} */"
            for s, first, row in zip(program.steps, firsts, arguments, strict=True)
        ),
        fills=_lines(map(_fill, filled)) or "  {0}",
        tensors=_lines(
            f"{{{json.dumps(b.name)}, {_bytes(b)}, {int(b.layout.dtype == 'float32')}}}"
            for b in tensors
        ),
        copies=", ".join(f"{at}u" for at in copies),
    )


def image_labels(code: DeviceCode) -> dict[str, str]:
    """Part of a symbol of NAME.S -> the architecture of that image; PTX is the last."""
    found = {f"cubin_{arch}": arch for arch in sorted(code.images)}
    return {**found, "ptx": ptx_version(code.ptx)} if code.ptx else found


def ptx_version(ptx: str) -> str:
    """The architecture that PTX was made for, e.g. "sm_90a"."""
    found = re.search(r"^\.target\s+(sm_\d+[af]?)", ptx, re.MULTILINE)
    assert found, "PTX names its target"
    return found[1]


def described(code: DeviceCode) -> str:
    """Which GPUs the code is for, in words."""
    named = " and ".join(sorted(code.images)) or "no GPU by name"
    version = ptx_version(code.ptx) if code.ptx else ""
    later = f", and by PTX for {version} and later" if version and version[-1].isdigit() else ""
    return named + later


def waiting(ptx: str) -> set[str]:
    """Kernels that wait themselves for the kernel before them, so that they may start early."""
    bodies = re.split(r"^\s*(?:\.visible\s+)?\.entry\s+", ptx, flags=re.MULTILINE)[1:]
    return {
        re.split(r"\W", body, maxsplit=1)[0] for body in bodies if "griddepcontrol.wait" in body
    }


def images_assembly(name: str, files: Mapping[str, str]) -> str:
    """An assembler file of device code: label -> file, each with a 0 behind it."""
    parts = [
        f".balign {ALIGN}\n.globl {name}_{label}\n.hidden {name}_{label}\n"
        f'{name}_{label}:\n.incbin "{file}"\n.byte 0\n'
        for label, file in files.items()
    ]
    return ".section .rodata\n" + "".join(parts) + '.section .note.GNU-stack,"",%progbits\n'


def _lines(rows: Iterable[str]) -> str:
    return ",\n".join(f"  {row}" for row in rows)


def _image(name: str, label: str, arch: str) -> str:
    found = _VERSION.fullmatch(arch)
    assert found, f"an architecture is like sm_90, not {arch!r}"
    numbers = found[1], int(label == "ptx"), int(found[2] == "a")
    return f"{{{name}_{label}, {', '.join(map(str, numbers))}}}"


def _kernel(launch: Launch, early: set[str]) -> str:
    grid, block = (", ".join(map(str, v)) for v in (launch.grid, launch.block))
    rest = f"{launch.shared}, {int(launch.symbol in early)}"
    return f'{{"{launch.symbol}", {{{grid}}}, {{{block}}}, {rest}}}'


def _arguments(program: Program, step: Step, launch: Launch) -> list[str]:
    """In the order of the CUDA function."""
    return [_argument(program, step.arguments[i]) for i in launch.order]


def _argument(program: Program, argument: Argument) -> str:
    buffer = argument.buffer
    if buffer is None:
        return f"{{IN_WEIGHTS, {argument.weights}}}"
    if buffer.kind == "input":
        return f"{{IN_INPUT, {program.inputs.index(buffer)}}}"
    if buffer.kind == "output":
        return f"{{IN_OUTPUT, {program.outputs.index(buffer)}}}"
    offset = buffer.offset + (buffer.layout.interior if argument.interior else 0)
    return f"{{IN_ARENA, {offset}}}"


def _value(buffer: Buffer) -> int:
    """What a halo's words hold. Zeros need no filling: a workspace begins as zeros."""
    bits = buffer.layout.dtype == "uint32" and buffer.fill == 1 and any(buffer.layout.halo)
    return 0xFFFFFFFF if bits else 0


def _fill(buffer: Buffer) -> str:
    n, h, w, words = buffer.layout.physical
    tail = buffer.layout.shape[3] % 32
    last = (1 << tail) - 1 if tail else 0xFFFFFFFF
    return f"{{{buffer.offset}, {n * h * w}, {words}, {_value(buffer)}u, {last}u}}"


def _copies(program: Program) -> tuple[list[int], int]:
    """Offsets behind the arena of the host's tensors, and the bytes of all."""
    at, found = round_up(program.workspace, _DEVICE_ALIGN), []
    for buffer in (*program.inputs, *program.outputs):
        found.append(at)
        at += round_up(_bytes(buffer), _DEVICE_ALIGN)
    return found, at


def _bytes(buffer: Buffer) -> int:
    return buffer.layout.itemsize * math.prod(buffer.external)
