"""Kernel rows that lie in zero padding are skipped."""

import tvm
import tvm_ffi
from tvm import tirx

#: Annotation of a loop over kernel rows: [first, last) of the stored rows that hold the image.
SKIP_ROWS = "bnn.skip_rows"


@tirx.transform.prim_func_pass(opt_level=0)
class SkipPadding:
    """for ky: body(x[row(y, ky)])  ->  for ky: if row(y, ky) lies in the image: body(...)

    For loops annotated with the stored rows of the image (schedule.py): the others hold zeros.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Guard each annotated loop's body; the input is the first parameter."""

        def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            if SKIP_ROWS not in loop.annotations:
                return mutator.default_mutate(loop)
            first, last = (int(v) for v in loop.annotations[SKIP_ROWS])
            row = _row_read(loop.body, f.params[0])
            body = tirx.IfThenElse(tirx.all(row >= first, row < last), loop.body, None)
            return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)

        return tvm_ffi.structural_mutate(f, [(tirx.For, visit)])


def _row_read(body: tirx.Stmt, x: tirx.Var) -> tvm.ir.Expr:
    """The row of ``x`` [N, H, W, ...] that ``body`` reads."""
    rows: list[tvm.ir.Expr] = []

    def visit(load: tvm.ir.TensorLoad, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
        if load.source.same_as(x):
            rows.append(load.indices[1])
        return mutator.default_mutate(load)

    tvm_ffi.structural_mutate(body, [(tvm.ir.TensorLoad, visit)])
    return rows[0]
