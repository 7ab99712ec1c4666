"""``example.c``: a program that runs the network on raw files, and the command that builds it."""

import math
import shlex

from bnn_compiler.deploy.cpu import abi
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.plan.program import Buffer, Program

_EXAMPLE = """\
/* {command} */
/* Runs {name} on raw files: the bytes of each tensor, little endian, as numpy's tofile writes them.
 *
 *   ./example {usage}
 *
{shapes} *
 * {name}.a has to be that of a folder (bnnc compile --folder), which holds the weights.
 * Prints {what}; with OUTPUT files, writes the outputs to them.
 */
#include <stdint.h>
#include <stdio.h>
#include "{name}.h"

{arrays}
{declarations}
static int read_tensor(const char *path, void *data, size_t bytes) {{
  FILE *file = fopen(path, "rb");
  size_t got = file ? fread(data, 1, bytes, file) : 0;
  int exact = file && got == bytes && fgetc(file) == EOF;
  if (file) fclose(file);
  if (!exact) fprintf(stderr, "%s: cannot read it, or it is not of %zu bytes\\n", path, bytes);
  return exact;
}}

static int write_tensor(const char *path, const void *data, size_t bytes) {{
  FILE *file = fopen(path, "wb");
  int written = file && fwrite(data, 1, bytes, file) == bytes;
  if (file && fclose(file)) written = 0;
  if (!written) fprintf(stderr, "%s: cannot write it\\n", path);
  return written;
}}

{functions}
int main(int argc, char **argv) {{
  if (argc != {least} && argc != {most}) {{
    fprintf(stderr, "usage: %s {usage}\\n", argv[0]);
    return 2;
  }}
{reads}
{run}
{shows}
  if (argc == {most}) {{
{writes}
  }}
  return 0;
}}
"""

_SHOW_TOP = """\
/* The {top} largest of ``count`` classes, best first. */
static void show_top(const float *y, int count) {{
  int best[{top}];
  for (int rank = 0; rank < {top} && rank < count; ++rank) {{
    int at = -1;
    for (int i = 0; i < count; ++i) {{
      int taken = 0;
      for (int k = 0; k < rank; ++k) taken |= best[k] == i;
      if (!taken && (at < 0 || y[i] > y[at])) at = i;
    }}
    best[rank] = at;
    printf("class %4d  %g\\n", at, (double)y[at]);
  }}
}}
"""

_SHOW_RANGE = """\
/* Smallest, largest and mean value of an output that is not a vector of classes. */
static void show_range(const char *name, const float *y, int count) {{
  float least = y[0], most = y[0];
  double sum = 0;
  for (int i = 0; i < count; ++i) {{
    if (y[i] < least) least = y[i];
    if (y[i] > most) most = y[i];
    sum += (double)y[i];
  }}
  printf("%s: %d values from %g to %g, mean %g\\n", name, count, (double)least, (double)most,
         sum / count);
}}
"""


#: Integers and truth values: the first ones.
_SHOW_INTEGERS = """\
  printf("{name}:");
  for (int i = 0; i < {shown}; ++i) printf(" %lld", (long long){name}[i]);
  printf("{rest}\\n");"""
#: How many of them.
_SHOWN = 20

#: Memory of the network on a CPU, and its run.
_WORKSPACE = """\
static _Alignas({guard}_WORKSPACE_ALIGN) unsigned char workspace[{guard}_WORKSPACE_BYTES];
"""
_RUN = """\
  if ({name}_run({arguments}, workspace)) {{
    fprintf(stderr, "the network failed\\n");
    return 1;
  }}"""


def source(program: Program, name: str, tools: Toolchain, *, threads: bool) -> str:
    """``example.c``; its first line is the command that builds it beside the artifact's files."""
    ins, outs = variables(program)
    return render(
        program,
        name,
        build_command(name, tools, ["-pthread"] if threads else []),
        _WORKSPACE.format(guard=name.upper()),
        _RUN.format(name=name, arguments=", ".join(ins + outs)),
    )


def variables(program: Program) -> tuple[list[str], list[str]]:
    """What the example calls its inputs and its outputs."""
    ins = [f"in{i}" for i in range(len(program.inputs))]
    return ins, [f"out{i}" for i in range(len(program.outputs))]


def render(program: Program, name: str, command: str, declarations: str, run: str) -> str:
    """The example whose networks need ``declarations`` and are run by the C of ``run``."""
    ins, outs = variables(program)
    inputs = list(zip(ins, program.inputs, strict=True))
    outputs = list(zip(outs, program.outputs, strict=True))
    shows = "\n".join(_show(variable, b) for variable, b in outputs)
    first_output = 1 + len(inputs)
    single = len(inputs) == len(outputs) == 1
    usage = [("INPUT" if single else f"INPUT{i}") for i in range(len(inputs))]
    usage += [("[OUTPUT]" if single else f"[OUTPUT{i}]") for i in range(len(outputs))]
    return _EXAMPLE.format(
        command=command,
        name=name,
        declarations=declarations,
        run=run,
        usage=" ".join(usage),
        shapes="".join(
            f" * {word}: {b.name}, {b.layout.dtype} {b.external}\n"
            for word, (_, b) in zip(usage, inputs + outputs, strict=True)
        ),
        what=_what(shows),
        arrays="\n".join(
            f"static {abi.TYPES[b.layout.dtype]} {variable}[{_size(b)}];"
            for variable, b in inputs + outputs
        ),
        functions=_SHOW_TOP.format(top=5) * ("show_top" in shows)
        + _SHOW_RANGE.format() * ("show_range" in shows),
        least=first_output,
        most=first_output + len(outputs),
        reads="\n".join(
            f"  if (!read_tensor(argv[{i}], {variable}, sizeof {variable})) return 1;"
            for i, (variable, _) in enumerate(inputs, 1)
        ),
        shows=shows,
        writes="\n".join(
            f"    if (!write_tensor(argv[{i}], {variable}, sizeof {variable})) return 1;"
            for i, (variable, _) in enumerate(outputs, first_output)
        ),
    )


def _what(shows: str) -> str:
    """What the example prints, in words."""
    if "show_top" in shows:
        return "the top 5 classes"
    return "the range of each output" if "show_range" in shows else "the outputs"


def build_command(name: str, tools: Toolchain, libraries: list[str]) -> str:
    """What builds ``example`` from the files of an artifact, for a shell."""
    return shlex.join([*tools.shown, "example.c", f"{name}.a", "-o", "example", *libraries])


def _size(buffer: Buffer) -> int:
    return math.prod(buffer.external)


def _show(variable: str, buffer: Buffer) -> str:
    shape = buffer.external
    count = _size(buffer)
    if buffer.layout.dtype != "float32":
        shown = min(count, _SHOWN)
        return _SHOW_INTEGERS.format(name=variable, shown=shown, rest=" ..." * (count > shown))
    classes = math.prod(shape[1:])
    if len(shape) < 2 or classes != shape[1] or classes == 1:
        return f'  show_range("{variable}", {variable}, {count});'
    if shape[0] == 1:
        return f"  show_top({variable}, {classes});"
    return (
        f"  for (int i = 0; i < {shape[0]}; ++i) {{\n"
        f'    printf("sample %d\\n", i);\n'
        f"    show_top({variable} + i * {classes}, {classes});\n"
        f"  }}"
    )
