"""What a converter takes and gives."""

from dataclasses import dataclass
from typing import Any

from tvm import relax

from bnn_compiler.ops import relax_ops as ops


@dataclass(frozen=True)
class Value:
    """An FX value in Relax: ``expr`` is NHWC; ``flat`` if PyTorch sees it as [N, C*H*W]."""

    expr: relax.Expr
    flat: bool = False

    @property
    def is_vector(self) -> bool:
        """Whether each feature of a flat value is a channel: [N, 1, 1, F]."""
        return self.flat and ops.shape_of(self.expr)[1:3] == (1, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that PyTorch sees."""
        n, h, w, c = ops.shape_of(self.expr)
        return (n, c * h * w) if self.flat else (n, c, h, w)


def pair(value: Any) -> list[int]:
    """One number or two as (height, width)."""
    numbers = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return numbers * 2 if len(numbers) == 1 else numbers
