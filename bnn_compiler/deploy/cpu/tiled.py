"""What programs that time kernels need where some of the kernels use AMX tiles, in C.

A kernel on tiles takes padding to be 0 without reading it, and leaves 0 in channels that do not
exist. Others read what is stored there, so that is cleared, and results are alike.
"""

import math
from collections.abc import Sequence

import tvm
from tvm import tirx

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.ops.storage import Storage
from bnn_compiler.runtime.library import NO_TILES

DECLARATIONS = """\
int32_t bnn_tiles_permit(void);
void bnn_tiles_configure(int32_t rows);
void bnn_tiles_release(void);

/* In every ``row`` bits of a buffer those from ``used`` on become 0. */
static void clear_channels(void *buffer, int64_t bytes, int64_t row, int64_t used) {
  uint8_t *at = buffer;
  for (uint8_t *end = at + bytes; at < end; at += row / 8)
    for (int64_t bit = used; bit < row; ++bit) at[bit / 8] &= (uint8_t) ~(1u << bit % 8);
}

/* The halo of a tensor [n][h][w] of ``pixel`` bytes becomes 0. */
static void clear_halo(void *buffer, int64_t n, int64_t h, int64_t w, int64_t pixel, int64_t top,
                       int64_t left, int64_t bottom, int64_t right) {
  uint8_t *at = buffer;
  for (int64_t i = 0; i < n * h * w; ++i, at += pixel) {
    int64_t y = i / w % h, x = i % w;
    if (y >= top && y < h - bottom && x >= left && x < w - right) continue;
    for (int64_t k = 0; k < pixel; ++k) at[k] = 0;
  }
}

"""


def clear_image(image: Layout) -> str:
    """Statements for the first buffer, ``p[0]``."""
    if image.storage not in (Storage.BITS, Storage.BYTES):
        return ""
    *_, h, w, stored = image.physical
    row = 8 * image.itemsize * stored
    used = image.shape[3] * (1 if image.storage is Storage.BITS else 8)
    sizes = ", ".join(map(str, (image.shape[0], h, w, row // 8, *image.halo)))
    return f"  clear_channels(p[0], {image.bytes}, {row}, {used});\n  clear_halo(p[0], {sizes});\n"


def clear_results(results: Sequence[tirx.Var], first: int, channels: int) -> str:
    """Statements for the buffers of ``results``, from ``p[first]`` on, which have ``channels``."""
    lines = []
    for i, result in enumerate(results, first):
        size = tvm.DataType(result.ty.dtype).itemsize
        shape = [int(e) for e in result.ty.shape]
        bits = 8 * size * shape[-1]
        used = channels * (1 if str(result.ty.dtype) == "uint16" else 8 * size)
        lines.append(f"  clear_channels(p[{i}], {size * math.prod(shape)}, {bits}, {used});\n")
    return "".join(lines)


def call(kernel: str) -> str:
    """A function ``tiled_call(p, rows)``: the expression ``kernel`` with tiles of ``rows``."""
    return (
        "static int32_t tiled_call(void **p, int32_t rows) {\n"
        f"  if (bnn_tiles_permit()) return {NO_TILES};\n"
        "  bnn_tiles_configure(rows);\n"
        f"  int32_t code = {kernel};\n"
        "  bnn_tiles_release();\n"
        "  return code;\n"
        "}\n"
    )
