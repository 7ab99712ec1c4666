"""Tokens and images that lie otherwise: rows of channels counted in another way, or packed."""

from collections.abc import Sequence

from tvm import te, tirx

from bnn_compiler.kernels.epilogue import Stages, f32, finish, placeholder, read
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.ops.epilogue import Epilogue


def tokens(
    x: Layout, shape: Sequence[int], epilogue: Epilogue, tensors: list[Layout | None]
) -> Stages:
    """The epilogue on the rows of ``x`` as an image of ``shape``."""
    n, h, w, c = shape
    _, rows, columns, _ = x.shape
    data = placeholder(x, "x")
    at = read(data, x)

    def value(i, y, z, k):  # type: ignore[no-untyped-def]
        if (rows, columns) == (h, w):
            index = (i, y, z)
        else:
            row = (i * h + y) * w + z
            above = tirx.floordiv(row, columns)
            index = (
                tirx.floordiv(above, rows),
                tirx.floormod(above, rows),
                tirx.floormod(row, columns),
            )
        if x.channels % 16 == 0:
            return at(*index, k)
        return te.if_then_else(k < c, at(*index, tirx.min(k, c - 1)), f32(0))

    return finish((n, h, w, c), value, epilogue, tensors, [data])


def plain(x: Layout) -> tirx.PrimFunc:
    """An image without what fills its rows."""
    data = placeholder(x, "x")
    at = read(data, x)
    result = te.compute(x.shape, lambda *index: at(*index), name="value")
    return te.create_prim_func([data, result])
