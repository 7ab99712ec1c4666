"""The tensor-core instructions that multiply signs, or halves.

Each multiplies ``rows`` pixels by 8 output channels over ``words`` registers of 32 bits:

    and     mma.m16n8k256 of bits, AND and popcount; sm_80 to sm_90
    xor     mma.m8n8k128 of bits, XOR and popcount; sm_75
    int8    mma.m16n8k32 of bytes, signs of the input as 0 and 1; where bits are only emulated
    half    mma.m16n8k16 of float16 with float32 sums; sm_80 and later
    half8   mma.m16n8k8 of them; sm_75
"""

from dataclasses import dataclass

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import tirx

#: Output channels of a tile of any of them.
COLUMNS = 8


@dataclass(frozen=True)
class Instruction:
    """``form`` is Gpu.binary or of halves; ``bits`` numbers of the input are in a register."""

    form: str
    rows: int
    words: int
    bits: int
    sums: str = "int32"

    @property
    def name(self) -> str:
        """Of TVM's tensor intrinsic."""
        return f"bnn.mma_{self.form}"

    @property
    def registers(self) -> tuple[int, int, int]:
        """Of a lane's input, weights and sums."""
        halves, pairs = self.words // 4, self.rows // 8
        return halves * pairs, halves, pairs * 2

    def multiply(self, a: tvm.ir.Expr, b: tvm.ir.Expr) -> tvm.ir.Expr:
        """What two registers add to a sum."""
        if self.sums == "float32":
            return tirx.call_pure_extern("float32", "bnn_dot2", a, b)
        if self.form == "int8":
            return tirx.call_pure_extern("int32", "bnn_dot4", a, b)
        joined = a & b if self.form == "and" else a ^ b
        return tirx.popcount(joined).astype("int32")

    # Where an element of a fragment is: (tiles ..., register, lane).

    def of_input(self, m: tvm.ir.Expr, k: tvm.ir.Expr) -> tuple[tvm.ir.Expr, ...]:
        """Pixel m, register k."""
        register = self._half(k) * (self.rows // 8) + self._pair(m)
        return m // self.rows, k // self.words, register, m % 8 * 4 + k % 4

    def of_weights(self, n: tvm.ir.Expr, k: tvm.ir.Expr) -> tuple[tvm.ir.Expr, ...]:
        """Channel n, register k."""
        return n // 8, k // self.words, self._half(k), n % 8 * 4 + k % 4

    def of_sums(self, m: tvm.ir.Expr, n: tvm.ir.Expr) -> tuple[tvm.ir.Expr, ...]:
        """Pixel m, channel n."""
        return m // self.rows, n // 8, self._pair(m) * 2 + n % 2, m % 8 * 4 + n % 8 // 2

    def neighbours(self, k: tvm.ir.Expr) -> tvm.ir.Expr:
        """The place of register k if a lane's registers of a step lie side by side."""
        return k // self.words * self.words + k % 4 * (self.words // 4) + k % self.words // 4

    def fragments(self, rows: NDArray[np.uint32], tiles: int) -> NDArray[np.uint32]:
        """Registers [channel, k]  ->  uint32 [tile, step, 8 columns, lane, register]."""
        halves = self.words // 4
        # Channel 8 j + n, register 4 r + t of a step  ->  lane 4 n + t, register r.
        split = rows.reshape(tiles, len(rows) // tiles // COLUMNS, COLUMNS, -1, halves, 4)
        joined = split.transpose(0, 3, 1, 2, 5, 4)
        return np.ascontiguousarray(joined.reshape(*joined.shape[:3], 32, halves))

    def _half(self, k: tvm.ir.Expr) -> tvm.ir.Expr:
        return k % self.words // 4 if self.words > 4 else tirx.const(0)

    def _pair(self, m: tvm.ir.Expr) -> tvm.ir.Expr:
        return m % self.rows // 8 if self.rows > 8 else tirx.const(0)


INSTRUCTIONS = {
    i.form: i
    for i in (
        Instruction("and", 16, 8, 32),
        Instruction("xor", 8, 4, 32),
        Instruction("int8", 16, 8, 4),
    )
}
#: Those of halves.
HALVES = {
    i.form: i
    for i in (
        Instruction("half", 16, 8, 2, "float32"),
        Instruction("half8", 16, 4, 2, "float32"),
    )
}
