"""A tile's epilogue reads and writes activations: their cache lines are asked for early."""

import tvm
import tvm_ffi
from tvm import tirx

#: Attribute of a kernel whose activations the caches do not hold (schedule.py).
STREAMED = "bnn.streamed"


@tirx.transform.prim_func_pass(opt_level=0)
class PrefetchEpilogue:
    """reduction; for tile: y[...] = f(acc, x[...])
    ->  for tile: prefetch x[...], y[...]; reduction; for tile: y[...] = f(acc, x[...])

    For kernels marked STREAMED: nothing in an epilogue hides the way to L3 or memory, and the
    reduction before it does. Runs while buffers have their dimensions and tiles are loops.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every reduction that an epilogue follows."""
        if STREAMED not in f.attrs:
            return f
        activations = [p for p in f.params if str(p.ty.dtype) == "float32" and len(p.ty.shape) == 4]

        def visit(found: tirx.SeqStmt, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            changed = mutator.default_mutate(found)
            if not isinstance(changed, tirx.SeqStmt):
                return changed
            stmts = list(changed.seq)
            for at in range(len(stmts) - 1, 0, -1):
                if _is_reduction(stmts[at - 1]):
                    stmts[at - 1 : at - 1] = _prefetches(stmts[at], activations)
            return tirx.SeqStmt(stmts)

        return tvm_ffi.structural_mutate(f, [(tirx.SeqStmt, visit)])


def _is_reduction(stmt: tirx.Stmt) -> bool:
    return isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.SERIAL


def _prefetches(epilogue: tirx.Stmt, activations: list[tirx.Var]) -> list[tirx.Stmt]:
    """One for each vector of ``activations`` that ``epilogue`` touches, in loops like its own."""
    found: dict[tirx.Var, tuple[list[tvm.ir.Expr], bool]] = {}

    def load(node: tvm.ir.TensorLoad, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
        if any(node.source.same_as(a) for a in activations):
            found.setdefault(node.source, (list(node.indices), False))
        return mutator.default_mutate(node)

    def store(node: tirx.BufferStore, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        if any(node.buffer.same_as(a) for a in activations):
            found[node.buffer] = (list(node.indices), True)
        return mutator.default_mutate(node)

    tvm_ffi.structural_mutate(epilogue, [(tvm.ir.TensorLoad, load), (tirx.BufferStore, store)])
    asked = [
        tirx.Evaluate(
            tirx.call_intrin(
                "void",
                "tirx.prefetch",
                tirx.address_of(tirx.BufferLoad(buffer, indices)),
                int(written),
                3,  # into L1
                1,  # data
            )
        )
        for buffer, (indices, written) in found.items()
    ]
    return [_in_loops(epilogue, one) for one in asked]


def _in_loops(like: tirx.Stmt, body: tirx.Stmt) -> tirx.Stmt:
    """``body`` in the unrolled loops around ``like``; of loops inside, for the first iteration."""
    renamed: dict[tirx.Var, tvm.ir.Expr] = {}
    loops: list[tirx.For] = []

    def first(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        renamed[loop.loop_var] = loop.min
        return mutator.default_mutate(loop)

    tvm_ffi.structural_mutate(like, [(tirx.For, first)])
    while isinstance(like, tirx.For) and like.kind == tirx.ForKind.UNROLLED:
        renamed[like.loop_var] = tirx.Var(like.loop_var.name, like.loop_var.ty)
        loops.append(like)
        like = like.body
    stmt = tvm_ffi.structural_mutate(body, [(tvm.ir.Var, lambda var, _: renamed.get(var, var))])
    for loop in reversed(loops):
        stmt = tirx.For(renamed[loop.loop_var], loop.min, loop.extent, loop.kind, stmt)
    return stmt
