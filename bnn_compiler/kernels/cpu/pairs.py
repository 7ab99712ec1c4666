"""The sum of two 16-bit products is one instruction on x86, which LLVM does not find."""

from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx
from tvm.script import tirx as T

#: Sums of two products of 16 bits by the number of sums.
PAIRS = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


@dataclass(frozen=True)
class _Factor:
    """broadcast(i32(x[index])) * i32(w[ramp(base, 2, lanes)])."""

    x: tirx.Var
    index: tvm.ir.Expr
    w: tirx.Var
    base: tvm.ir.Expr
    lanes: int

    @staticmethod
    def of(expr: tvm.ir.Expr) -> "_Factor | None":
        """Match ``expr``."""
        if not isinstance(expr, tirx.Mul):
            return None
        one, many = (expr.a, expr.b) if isinstance(expr.a, tirx.Broadcast) else (expr.b, expr.a)
        if not isinstance(one, tirx.Broadcast) or not isinstance(many, tirx.Cast):
            return None
        x, w = getattr(one.value, "value", None), many.value
        if not isinstance(x, tvm.ir.TensorLoad) or not isinstance(w, tvm.ir.TensorLoad):
            return None
        ramp = w.indices[0]
        if str(x.source.ty.dtype) != "int16" or not isinstance(ramp, tirx.Ramp):
            return None
        if int(ramp.stride) != 2:
            return None
        return _Factor(x.source, x.indices[0], w.source, ramp.base, int(ramp.lanes))


@tirx.transform.prim_func_pass(opt_level=0)
class PairProducts:
    """i32(x[i]) * i32(w[0::2]) + i32(x[i + 1]) * i32(w[1::2]) -> multiply_add_pairs(x[i:i + 2], w).

    ``x[i]`` is one int16 for all lanes, ``w`` a vector with two for each (int16.py). LLVM would
    widen both first.
    """

    def __init__(self, vector_bits: int) -> None:
        self.lanes = vector_bits // 32

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite sum + first + second."""

        def visit(node: tirx.Add, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            if isinstance(node.a, tirx.Add):
                first, second = _Factor.of(node.a.b), _Factor.of(node.b)
                if first and second:
                    assert first.x.same_as(second.x) and first.w.same_as(second.w)
                    return node.a.a + self._product(first)
            return mutator.default_mutate(node)

        return tvm_ffi.structural_mutate(f, [(tirx.Add, visit)])

    def _product(self, factor: _Factor) -> tvm.ir.Expr:
        """As many instructions as the vector is wide."""
        lanes = min(self.lanes, factor.lanes)
        pair = tirx.BufferLoad(factor.x, [tirx.Ramp(factor.index, 1, 2)])
        pairs = T.reinterpret(
            f"int16x{2 * lanes}", tirx.Broadcast(T.reinterpret("int32", pair), lanes)
        )
        parts = [
            tirx.call_llvm_pure_intrin(
                f"int32x{lanes}",
                PAIRS[lanes],
                pairs,
                tirx.BufferLoad(factor.w, [tirx.Ramp(factor.base + 2 * at, 1, 2 * lanes)]),
            )
            for at in range(0, factor.lanes, lanes)
        ]
        return parts[0] if len(parts) == 1 else tirx.Shuffle(parts, list(range(factor.lanes)))
