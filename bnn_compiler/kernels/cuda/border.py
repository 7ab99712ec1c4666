"""What an exact sum starts from, by border class: taps in zero padding count nothing."""

from dataclasses import dataclass

import numpy as np
from tvm import te

from bnn_compiler.kernels.epilogue import Value
from bnn_compiler.kernels.workload import ConvWorkload


@dataclass(frozen=True)
class Border:
    """The border classes of a convolution; with a pad value of -1 or +1 there is one."""

    work: ConvWorkload

    @property
    def by_class(self) -> bool:
        """Whether zero padding makes classes of rows and columns."""
        return self.work.pad_value == 0 and any(self.work.padding)

    def constants(self, inside: np.ndarray, outside: np.ndarray) -> list[np.ndarray]:
        """The table float32 [cy, cx, O] of sums over the taps, and the classes of rows and columns.

        ``inside`` and ``outside`` [O, KH, KW] are what a tap in the image adds, and one in zero
        padding.
        """
        if not self.by_class:
            return [inside.sum(axis=(1, 2)).astype(np.float32)]
        (row, ys), (col, xs) = self.work.border_classes(0), self.work.border_classes(1)
        valid = (ys[:, None, :, None] & xs[None, :, None, :])[:, :, None]
        table = np.where(valid, inside, outside).sum(axis=(3, 4)).astype(np.float32)
        return [table, row, col]

    def base(self, outputs: int) -> tuple[list[te.Tensor], Value]:
        """The parameters that those are, and the sum at (n, y, x, c)."""
        if not self.by_class:
            line = te.placeholder((outputs,), "float32", name="base")
            return [line], lambda i, y, z, c: line[c]
        (_, ys), (_, xs) = self.work.border_classes(0), self.work.border_classes(1)
        table = te.placeholder((len(ys), len(xs), outputs), "float32", name="base")
        rows = te.placeholder((self.work.shape[1],), "int32", name="row")
        cols = te.placeholder((self.work.shape[2],), "int32", name="col")
        return [table, rows, cols], lambda i, y, z, c: table[rows[y], cols[z], c]
