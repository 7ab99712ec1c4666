"""Neighbouring words that a thread loads one after the other come in one load of 8 bytes."""

import re
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx


@tirx.transform.prim_func_pass(opt_level=0)
class PairLoads:
    """r[i] = p[2 * e]; r[j] = p[2 * e + 1]  ->  bnn_load2(r[i], r[j], &p[2 * e]), see device.cuh.

    Of words of the kernel's parameters, which are aligned to 8 bytes. Both may be 0 under one
    condition: bnn_load2_if. Runs once fragments are arrays of their threads.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every pair of statements of this form."""
        analyzer = tvm.sym.Analyzer()
        one = tirx.const(1, "int32")

        def together(a: tirx.Stmt, b: tirx.Stmt) -> tirx.Stmt | None:
            first, second = _load(a), _load(b)
            if first is None or second is None or not first.source.same_as(second.source):
                return None
            if not _same(first.condition, second.condition):
                return None
            if not analyzer.can_prove_equal(second.index - first.index, one):
                return None
            if not analyzer.can_prove_equal(tirx.floormod(first.index, 2), 0):
                return None
            return first.with_next(second)

        def visit(found: tirx.SeqStmt, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            changed = mutator.default_mutate(found)
            if not isinstance(changed, tirx.SeqStmt):
                return changed
            stmts: list[tirx.Stmt] = []
            for stmt in changed.seq:
                both = together(stmts[-1], stmt) if stmts else None
                if both is None:
                    stmts.append(stmt)
                else:
                    stmts[-1] = both
            return tirx.SeqStmt(stmts) if len(stmts) > 1 else stmts[0]

        return tvm_ffi.structural_mutate(f, [(tirx.SeqStmt, visit)])


@dataclass(frozen=True)
class _Load:
    """``register = source[index]``, or 0 unless ``condition``."""

    register: tvm.ir.Expr
    source: tirx.Var
    index: tvm.ir.Expr
    condition: tvm.ir.Expr | None

    def with_next(self, other: "_Load") -> tirx.Stmt:
        """This and that of the next word."""
        at = tirx.address_of(tirx.BufferLoad(self.source, [self.index]))
        registers = (self.register, other.register)
        if self.condition is None:
            return tirx.Evaluate(tirx.call_extern("int32", "bnn_load2", *registers, at))
        call = tirx.call_extern("int32", "bnn_load2_if", self.condition, *registers, at)
        return tirx.Evaluate(call)


def _load(stmt: tirx.Stmt) -> _Load | None:
    """What ``stmt`` loads from a word of a parameter into a register, if it is that."""
    if not isinstance(stmt, tirx.BufferStore) or not str(stmt.buffer.name).endswith("_warp"):
        return None
    value, condition = stmt.value, None
    if isinstance(value, tvm.ir.Call) and value.op.same_as(tvm.ir.Op.get("prim.if_then_else")):
        condition, value, other = value.args
        if not (isinstance(other, tirx.IntImm) and int(other) == 0):
            return None
    if not isinstance(value, tvm.ir.TensorLoad) or str(value.ty.dtype) != "uint32":
        return None
    # codegen.py names the kernel's parameters.
    if not re.match(r"p\d+", str(value.source.name)) or len(value.indices) != 1:
        return None
    register = tirx.BufferLoad(stmt.buffer, list(stmt.indices))
    return _Load(register, value.source, value.indices[0], condition)


def _same(a: tvm.ir.Expr | None, b: tvm.ir.Expr | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(tvm_ffi.structural_equal(a, b))
