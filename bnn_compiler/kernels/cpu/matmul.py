"""The product of two computed tensors of bits: xor or and, popcount, add."""

import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.epilogue import Stages, f32, finish, placeholder
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.ops.rounding import round_up


def stages(task: PlainTask) -> Stages:
    """[N, H, I, J] of bits [N, H, I, K] and [N, H, J, K].

    A 0 bit of an operand is -1 or, if its ``low`` is 0, 0: the integer is K - 2 * popcount(a ^ b)
    for two of -1, popcount(a & b) for two of 0, else 2 * popcount(a & b) less that of the 0s'.
    """
    a, b = task.data
    left, right = task.parameters
    n, h, rows, k = a.shape
    columns, words = b.shape[2], a.channels
    lanes = round_up(columns, LANES)
    x, y = placeholder(a, "x"), placeholder(b, "y")
    # Words of 16 columns side by side; behind the last column stands its copy.
    turned = te.compute(
        (n, h, words, lanes),
        lambda i, g, word, j: y[i, g, tirx.min(j, columns - 1), word],
        name="turned",
    )
    word = te.reduce_axis((0, words), "word")

    def count(i, g, row, j):  # type: ignore[no-untyped-def]
        p, q = x[i, g, row, word], turned[i, g, word, j]
        if left and right:
            found = _ones(p ^ q)
        else:
            found = _ones(p & q)
            if left or right:
                found = found * 2 - _ones(q if left else p)
        return te.sum(found, axis=[word])

    acc = te.compute((n, h, rows, lanes), count, name="acc")

    def value(*index):  # type: ignore[no-untyped-def]
        found = acc(*index).astype("float32")
        return f32(k) - found * f32(2) if left and right else found

    shape = (n, h, rows, columns)
    return finish(shape, value, task.epilogue, list(task.tensors), [x, y], acc)


def _ones(word: tvm.ir.Expr) -> tvm.ir.Expr:
    return tirx.popcount(word).astype("int32")


def function(task: PlainTask) -> tirx.PrimFunc:
    """Parallel over heads and 16 columns, whose words stay in cache for all rows."""
    made = stages(task)
    sch = schedule.of(made)
    value, acc, turned = (sch.get_sblock(name) for name in ("value", "acc", "turned"))
    n, h, row, column = sch.get_loops(value)
    outer, lane = sch.split(column, [None, LANES])
    sch.reorder(n, h, outer, row, lane)
    parallel = sch.fuse(n, h, outer)
    sch.compute_at(acc, row, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    sch.compute_at(turned, parallel, preserve_unit_loops=True)
    sch.set_scope(turned, 0, "local")
    *_, inner, word = sch.get_loops(acc)
    sch.reorder(word, inner)
    sch.vectorize(inner)
    schedule.attach_bits(sch, made, row)
    sch.parallel(parallel)
    sch.vectorize(lane)
    sch.decompose_reduction(acc, word)
    schedule.tensorize_bits(sch, made)
    return sch.mod["main"]
