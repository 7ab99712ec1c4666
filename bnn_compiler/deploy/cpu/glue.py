"""The C around the kernels: the call sequence over one arena, a header, the weights section.

No heap and no globals. Every pointer is an offset fixed at compile time.
"""

import math

from bnn_compiler.deploy.cpu import abi
from bnn_compiler.ops.rounding import ceil_div
from bnn_compiler.plan.program import Argument, Buffer, Program
from bnn_compiler.runtime.library import NO_TILES
from bnn_compiler.runtime.manifest import ALIGN

#: Bytes of a cache line.
LINE = 64
#: Lines asked for at once: as many misses as a core has under way without waiting for any.
_LINES = 24

_HEADER = """\
/* {name}: a binary neural network compiled by bnn_compiler.
 *
 * To link {name}.a, take it from a folder (bnnc compile --folder). That of an artifact in one file
 * lacks the weights, which are in {name}.so: the linker misses {name}_weights.
 */
#ifndef {guard}_H
#define {guard}_H

#include <stdint.h>

{sizes}

#ifdef __cplusplus
extern "C" {{
#endif

{functions}

/* Use n threads (at least 1); returns the number in force{limit}. */
{set_threads};

#ifdef __cplusplus
}}
#endif
#endif
"""

#: Of the program of one batch size.
_SIZES = """\
/* Bytes and alignment of the workspace the caller provides{batch}. */
#define {guard}_WORKSPACE_BYTES {workspace}
#define {guard}_WORKSPACE_ALIGN {align}
#define {guard}_STEPS {steps}"""

_FUNCTIONS = """\
/* Run the network{batch}; returns 0{refused}. Tensors are dense:
{shapes}
 */
{run};

/* Run steps first..last-1; seconds may be NULL, else seconds[i] grows by the time of step i. */
{run_steps};

/* The same, but return -2 at once if a float input holds a NaN, which has no sign. */
{run_checked};"""

_SOURCE = """\
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <string.h>
#include <time.h>
#include "{header}.h"

#define HIDDEN __attribute__((visibility("hidden")))

extern const unsigned char {weights}_weights[];

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

HIDDEN int32_t bnn_parallel(int32_t (*task)(void *, int32_t, int32_t), void *arguments,
                            int32_t count);
/* Weak, because every network brings one. */
{registration}
{kernels}

/* A kernel call, done ``part`` iterations at a time; before each part, ``lines`` cache lines of the
 * next step's weights are asked for. */
struct work {{
  int32_t (*call)(void **p, int32_t first, int32_t last);
  void **p;
  const unsigned char *next;
  int32_t part, lines{rows};
}};

static int32_t in_parts(void *work, int32_t first, int32_t last) {{
  const struct work *w = work;
  for (int32_t i = first; i < last; i += w->part) {{
    const unsigned char *next = w->next + (size_t)(i / w->part) * (size_t)w->lines * {line};
    for (int32_t k = 0; k < w->lines; ++k) __builtin_prefetch(next + {line} * k, 0, 2);
    int32_t code = w->call(w->p, i, i + w->part < last ? i + w->part : last);
    if (code) return code;
  }}
  return 0;
}}

{tiles}{halos}
static int32_t step(int32_t index, const void *const *in, void *const *out, unsigned char *a) {{
  switch (index) {{
{cases}
  }}
  return -1;
}}

static double now(void) {{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}}

{run_steps} {{
  for (int32_t i = first; i < last; ++i) {{
    double start = seconds ? now() : 0.0;
    int32_t code = step(i, inputs, outputs, (unsigned char *)workspace);
    if (code) return code;
    if (seconds) seconds[i] += now() - start;
  }}
  return 0;
}}

{finite}
{run_checked} {{
{checks}
  return {name}_run_steps(inputs, outputs, workspace, first, last, seconds);
}}

{run} {{
  const void *inputs[] = {{{inputs}}};
  void *outputs[] = {{{outputs}}};
  return {name}_run_steps(inputs, outputs, workspace, 0, {steps}, NULL);
}}
"""

_FINITE = """\
/* Whether any of n floats is a NaN: all bits of a lane are set where a number is not itself. */
static int32_t has_nan(const void *data, size_t n) {
  typedef float floats __attribute__((vector_size(16)));
  typedef int32_t lanes __attribute__((vector_size(16)));
  const unsigned char *at = data;
  lanes found = {0, 0, 0, 0};
  floats v;
  for (; n >= 4; n -= 4, at += sizeof v) {
    memcpy(&v, at, sizeof v);
    found |= v != v;
  }
  floats rest = {0, 0, 0, 0};
  memcpy(&rest, at, n * sizeof(float));
  found |= rest != rest;
  return found[0] | found[1] | found[2] | found[3];
}
"""

#: Around kernels of ``tile_rows``; bnn_tiles.c has the functions.
_TILES = """\
int32_t bnn_tiles_permit(void);
void bnn_tiles_configure(int32_t rows);
void bnn_tiles_release(void);

/* The same of a kernel on tiles: in each thread they are configured once, and not left so. */
static int32_t in_tiles(void *work, int32_t first, int32_t last) {
  bnn_tiles_configure(((const struct work *)work)->rows);
  int32_t code = in_parts(work, first, last);
  bnn_tiles_release();
  return code;
}

"""

_CLEAR = """\
/* Zero the halo of a tensor [n][h][w] of ``pixel`` bytes. */
static void clear(unsigned char *at, size_t n, size_t h, size_t w, size_t pixel, size_t top,
                  size_t left, size_t bottom, size_t right) {
  for (size_t i = 0; i < n; ++i, at += h * w * pixel)
    for (size_t y = 0; y < h; ++y) {
      unsigned char *row = at + y * w * pixel;
      if (y < top || y >= h - bottom) {
        memset(row, 0, w * pixel);
      } else {
        memset(row, 0, left * pixel);
        memset(row + (w - right) * pixel, 0, right * pixel);
      }
    }
}
"""

_FILL = """\
/* Write the halo of a tensor [n][h][w][words]; ``all`` writes the interior too. */
static void fill(unsigned char *at, int32_t n, int32_t h, int32_t w, int32_t words, int32_t top,
                 int32_t left, int32_t bottom, int32_t right, int32_t all, uint32_t value,
                 uint32_t last) {
  uint32_t *p = (uint32_t *)at;
  for (int32_t i = 0; i < n; ++i)
    for (int32_t y = 0; y < h; ++y) {
      int32_t edge = all || y < top || y >= h - bottom;
      for (int32_t x = 0; x < w; ++x, p += words) {
        if (!edge && x == left) {
          p += (ptrdiff_t)words * (w - left - right);
          x = w - right;
          if (right == 0) break;
        }
        for (int32_t k = 0; k < words; ++k) p[k] = k == words - 1 ? last : value;
      }
    }
}
"""


def _prototypes(program: Program, name: str) -> dict[str, str]:
    inputs, outputs = ([b.layout.dtype for b in t] for t in (program.inputs, program.outputs))
    return {
        "run": abi.run(name, inputs, outputs),
        "run_steps": abi.RUN_STEPS.format(name=name),
        "run_checked": abi.RUN_CHECKED.format(name=name),
    }


def header(program: Program, name: str, *, threads: bool) -> str:
    """``NAME.h``, with what there is for every batch size."""
    sizes, functions = [], []
    batches = iter(("", *(f", for a batch of {n}" for n in program.batches)))
    for called, part in program.named(name).items():
        batch, both = next(batches), part.inputs + part.outputs
        shapes = [f" *   {b.name}: {b.layout.dtype} {b.external}" for b in both]
        sizes.append(
            _SIZES.format(
                batch=batch,
                guard=called.upper(),
                workspace=part.workspace,
                align=ALIGN,
                steps=len(part.steps),
            )
        )
        prototypes = _prototypes(part, called)
        tiles = any(s.tile_rows for s in part.steps)
        refused = f", or {NO_TILES} where the system refuses AMX" * tiles
        text = _FUNCTIONS.format(
            batch=batch, refused=refused, shapes="\n".join(shapes), **prototypes
        )
        functions.append(text)
    return _HEADER.format(
        name=name,
        guard=name.upper(),
        sizes="\n\n".join(sizes),
        functions="\n\n".join(functions),
        set_threads=abi.SET_THREADS.format(name=name),
        limit="" if threads else ", always 1: compiled without threads",
    )


def source(program: Program, name: str, ahead: int, digest: str, network: str = "") -> str:
    """``NAME.c``: every step as one case of a switch.

    While a step runs, at most ``ahead`` bytes of the next one's weights are brought into L2.
    ``digest`` is the SHA-256 of the manifest, in hexadecimal. A program for another batch size has
    the header and the weights of its ``network``.
    """
    weights = network or name
    counts = {s.kernel: len(s.arguments) for s in program.steps}
    kernels = "\n".join(_declare(k, n) for k, n in sorted(counts.items()))
    cases = "\n".join(_case(program, weights, i, ahead) for i in range(len(program.steps)))
    tiles = any(s.tile_rows for s in program.steps)
    checks = "\n".join(
        f"  if (has_nan(inputs[{i}], {_elements(b)})) return -2;"
        for i, b in enumerate(program.inputs)
        if b.layout.dtype == "float32"
    )
    return _SOURCE.format(
        name=name,
        header=weights,
        weights=weights,
        count=len(_sizes(program)),
        digest=", ".join(map(str, bytes.fromhex(digest))),
        sizes=", ".join(map(str, _sizes(program))),
        line=LINE,
        kernels=kernels,
        rows=", rows" * tiles,
        tiles=_TILES * tiles,
        halos=_CLEAR * ("clear(" in cases) + _FILL * ("fill(" in cases),
        cases=cases,
        finite=_FINITE if checks else "",
        checks=checks,
        registration=abi.registration("HIDDEN __attribute__((weak)) "),
        **_prototypes(program, name),
        inputs=", ".join(f"in{i}" for i in range(len(program.inputs))),
        outputs=", ".join(f"out{i}" for i in range(len(program.outputs))),
        steps=len(program.steps),
    )


def _sizes(program: Program) -> list[int]:
    """What a caller has to know: bytes of the workspace, counts, bytes of the tensors."""
    counts = [len(program.steps), len(program.inputs), len(program.outputs)]
    tensors = [*program.inputs, *program.outputs]
    return [program.workspace, *counts, *(b.layout.itemsize * _elements(b) for b in tensors)]


def _elements(buffer: Buffer) -> int:
    return math.prod(buffer.external)


def _declare(kernel: str, count: int) -> str:
    """A kernel's prototype, and its call with the arguments from an array."""
    values = ", ".join(f"p[{i}]" for i in range(count))
    return (
        f"{abi.kernel(kernel, count)};\n"
        f"static int32_t call_{kernel}(void **p, int32_t first, int32_t last) {{\n"
        f"  return {kernel}({values}, first, last);\n"
        f"}}"
    )


def _case(program: Program, name: str, index: int, ahead: int) -> str:
    step = program.steps[index]
    lines = [f"    case {index}: {{ /* {step.name} */"]
    lines += [_fill(b) for b in step.writes if b.kind == "arena" and b.needs_fill]
    arguments = ", ".join(_pointer(program, name, a) for a in step.arguments)
    work, run = f"call_{step.kernel}, p, {_next(program, name, index, ahead)}", "in_parts"
    if step.tile_rows:
        work, run = f"{work}, {step.tile_rows}", "in_tiles"
        lines.append(f"      if (bnn_tiles_permit()) return {NO_TILES};")
    lines += [
        f"      void *p[] = {{{arguments}}};",
        f"      struct work work = {{{work}}};",
        f"      return bnn_parallel({run}, &work, {step.iterations});",
        "    }",
    ]
    return "\n".join(lines)


def _next(program: Program, name: str, index: int, ahead: int) -> str:
    """The largest constant of the step after ``index``, and its share for each part of this one."""
    iterations = program.steps[index].iterations
    following = program.steps[index + 1 : index + 2]
    constants = [a for s in following for a in s.arguments if a.buffer is None]
    largest = max(constants, key=lambda a: a.size, default=None)
    lines = min(largest.size, ahead) // LINE if largest else 0
    part = max(1, iterations * _LINES // max(lines, 1))
    each = min(_LINES, lines // ceil_div(iterations, part)) if part < iterations else 0
    if largest is None or each == 0:
        return f"{name}_weights, {iterations}, 0"
    return f"{name}_weights + {largest.weights}, {part}, {each}"


def _fill(buffer: Buffer) -> str:
    layout = buffer.layout
    n, h, w, words = layout.physical
    tail = layout.shape[3] % 32
    bits = layout.dtype == "uint32" and buffer.fill == 1
    value = 0xFFFFFFFF if bits else 0
    last = ((1 << tail) - 1 if tail else 0xFFFFFFFF) if bits else 0
    half = layout.has_half_word
    top, left, bottom, right = layout.halo
    if value == last == 0 and not half:
        pixel = words * layout.itemsize
        edges = ", ".join(map(str, (n, h, w, pixel, top, left, bottom, right)))
        return f"      clear(a + {buffer.offset}, {edges});"
    numbers = (n, h, w, words, top, left, bottom, right, int(half))
    return f"      fill(a + {buffer.offset}, {', '.join(map(str, numbers))}, {value}u, {last}u);"


def _pointer(program: Program, name: str, argument: Argument) -> str:
    buffer = argument.buffer
    if buffer is None:
        return f"(void *)({name}_weights + {argument.weights})"
    if buffer.kind == "input":
        return f"(void *)in[{program.inputs.index(buffer)}]"
    if buffer.kind == "output":
        return f"out[{program.outputs.index(buffer)}]"
    offset = buffer.offset + (buffer.layout.interior if argument.interior else 0)
    return f"a + {offset}"


def weights_assembly(name: str, file: str, offset: int, size: int) -> str:
    """An assembler file: ``size`` bytes of ``file`` as read-only data under a hidden symbol."""
    data = f'.incbin "{file}", {offset}, {size}\n' if size else ""
    return (
        f".section .rodata\n.balign {ALIGN}\n.globl {name}_weights\n.hidden {name}_weights\n"
        f'{name}_weights:\n{data}.section .note.GNU-stack,"",%progbits\n'
    )
