"""Sums of four products of bytes and weights as instructions that LLVM does not find."""

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx
from tvm.script import tirx as T

from bnn_compiler.kernels.cpu.pairs import PAIRS
from bnn_compiler.target import Target

#: Four products of bytes that are added to a sum of 32 bits, by the number of sums.
_X86_DOT = {
    4: "llvm.x86.avx512.vpdpbusd.128",
    8: "llvm.x86.avx512.vpdpbusd.256",
    16: "llvm.x86.avx512.vpdpbusd.512",
}
_ARM_DOT = "llvm.aarch64.neon.sdot.v4i32.v16i8"
#: Products of 8 bytes, and sums of two neighbours of 16 bits.
_ARM_PRODUCT = "llvm.aarch64.neon.smull.v8i16"
_ARM_PAIRS = "llvm.aarch64.neon.saddlp.v4i32.v8i16"


@dataclass(frozen=True)
class _Factor:
    """broadcast(i32(x[index])) * i32(w[ramp(base, stride, lanes)])."""

    x: tirx.Var
    index: tvm.ir.Expr
    w: tirx.Var
    base: tvm.ir.Expr
    stride: int
    lanes: int

    @staticmethod
    def of(expr: tvm.ir.Expr) -> "_Factor | None":
        """Match ``expr``; the byte may be less a constant."""
        if not isinstance(expr, tirx.Mul):
            return None
        one, many = (expr.a, expr.b) if isinstance(expr.a, tirx.Broadcast) else (expr.b, expr.a)
        if not isinstance(one, tirx.Broadcast) or not isinstance(many, tirx.Cast):
            return None
        byte = one.value
        byte = byte.a if isinstance(byte, tirx.Add | tirx.Sub) else byte
        x, w = getattr(byte, "value", None), many.value
        if not isinstance(x, tvm.ir.TensorLoad) or not isinstance(w, tvm.ir.TensorLoad):
            return None
        ramp = w.indices[0]
        if str(x.source.ty.dtype) != "uint8" or not isinstance(ramp, tirx.Ramp):
            return None
        return _Factor(
            x.source, x.indices[0], w.source, ramp.base, int(ramp.stride), int(ramp.lanes)
        )


@tirx.transform.prim_func_pass(opt_level=0)
class QuadProducts:
    """sum + i32(x[i]) * i32(w[0::4]) + ... + i32(x[i + 3]) * i32(w[3::4])  ->  dot(sum, x, w).

    The weights are bytes, ``x[i]`` is one byte for all lanes (int8.py); on ARM it comes less 128.
    Without such an instruction two taps of each lane lie side by side, then the others: 0 and 2 of
    16 bits on x86, where two products are one instruction, of the even and the odd bytes of x; 0
    and 1 on ARM, whose products of 16 bits are added in pairs.
    """

    def __init__(self, target: Target) -> None:
        self.arm = target.arch == "aarch64"
        self.lanes = target.cpu.vector_bits // 32
        self.analyzer = tvm.sym.Analyzer()

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite sums of four products."""

        def visit(node: tirx.Add, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            total: tvm.ir.Expr = node
            factors: list[_Factor | None] = []
            while len(factors) < 4 and isinstance(total, tirx.Add):
                factors.append(_Factor.of(total.b))
                total = total.a
            if len(factors) == 4 and all(factors):
                made = self._products(total, factors[::-1])
                if made is not None:
                    return made
            return mutator.default_mutate(node)

        return tvm_ffi.structural_mutate(f, [(tirx.Add, visit)])

    def _products(
        self, total: tvm.ir.Expr, factors: Sequence[_Factor | None]
    ) -> tvm.ir.Expr | None:
        first, _, third, _ = factors
        assert first is not None and third is not None, "all were found"
        if first.stride == 4:
            dot = self._arm_dot if self.arm else self._x86_dot
            lanes = min(self.lanes, first.lanes)
            parts = [
                dot(_part(total, at, lanes, first.lanes), first, at, lanes)
                for at in range(0, first.lanes, lanes)
            ]
            return _joined(parts, first.lanes)
        if first.stride == 2 and self.arm:
            return self._arm_pairs(total, first, third)
        if first.stride == 2:
            even, odd = self._halves(first)
            return total + self._pairs(even, first) + self._pairs(odd, third)
        return None

    def _x86_dot(self, total: tvm.ir.Expr, factor: _Factor, at: int, lanes: int) -> tvm.ir.Expr:
        return tirx.call_llvm_pure_intrin(
            f"int32x{lanes}",
            _X86_DOT[lanes],
            total,
            T.reinterpret(f"int8x{4 * lanes}", tirx.Broadcast(_quad(factor), lanes)),
            _weights(factor, 4 * at, 4 * lanes),
        )

    def _arm_dot(self, total: tvm.ir.Expr, factor: _Factor, at: int, lanes: int) -> tvm.ir.Expr:
        return tirx.call_llvm_pure_intrin(
            "int32x4",
            _ARM_DOT,
            total,
            _weights(factor, 4 * at, 16),
            T.reinterpret("int8x16", tirx.Broadcast(self._arm_quad(factor), lanes)),
        )

    def _arm_pairs(self, total: tvm.ir.Expr, first: _Factor, third: _Factor) -> tvm.ir.Expr:
        quads = _whole(T.reinterpret("float32x4", tirx.Broadcast(_quad(first), 4)))
        flip = tirx.Broadcast(tirx.const(0x80808080 - 2**32, "int32"), 4)
        words = T.reinterpret("int16x8", T.reinterpret("int32x4", quads) ^ flip)
        for half, factor in enumerate((first, third)):
            two = tirx.Broadcast(tirx.Shuffle([words], [half]), 8)
            x = T.reinterpret("int8x16", two)
            sums = []
            for at in range(0, factor.lanes, 8):
                w = _weights(factor, 2 * at, 16)
                sums += [_pair_sums(w, x, low) for low in (0, 8)]
            total = total + _joined(sums, factor.lanes)
        return total

    def _arm_quad(self, factor: _Factor) -> tvm.ir.Expr:
        """The four bytes less 128 as one number, of a whole vector where that is at hand."""
        known = self.analyzer.modular_set(factor.index)
        lane = int(known.base) % 16
        if int(known.coeff) % 16 or lane % 4:
            return _quad(factor) ^ tirx.const(0x80808080 - 2**32, "int32")
        # A lane of a whole vector, which LLVM loads once.
        whole = tirx.BufferLoad(factor.x, [tirx.Ramp(factor.index - lane, 1, 16)])
        flipped = whole ^ tirx.Broadcast(tirx.const(128, "uint8"), 16)
        words = T.reinterpret("int32x4", _whole(T.reinterpret("float32x4", flipped)))
        return tirx.Shuffle([words], [lane // 4])

    def _halves(self, factor: _Factor) -> tuple[tvm.ir.Expr, tvm.ir.Expr]:
        """Bytes 0 and 2, and bytes 1 and 3, as 16 bits in every lane."""
        lanes = min(self.lanes, factor.lanes)
        quads = tirx.Broadcast(_quad(factor), lanes)
        words = T.reinterpret(f"uint16x{2 * lanes}", quads)
        low = words & tirx.Broadcast(tirx.const(255, "uint16"), 2 * lanes)
        high = tirx.shift_right(words, tirx.Broadcast(tirx.const(8, "uint16"), 2 * lanes))
        return tuple(T.reinterpret(f"int16x{2 * lanes}", v) for v in (low, high))

    def _pairs(self, x: tvm.ir.Expr, factor: _Factor) -> tvm.ir.Expr:
        lanes = min(self.lanes, factor.lanes)
        parts = [
            tirx.call_llvm_pure_intrin(
                f"int32x{lanes}", PAIRS[lanes], x, _weights(factor, 2 * at, 2 * lanes)
            )
            for at in range(0, factor.lanes, lanes)
        ]
        return _joined(parts, factor.lanes)


def _pair_sums(w: tvm.ir.Expr, x: tvm.ir.Expr, low: int) -> tvm.ir.Expr:
    """Four sums of two products each, of 8 of 16 bytes from ``low`` on."""
    some = list(range(low, low + 8))
    eight = [tirx.Shuffle([v], some) for v in (w, x)]
    products = tirx.call_llvm_pure_intrin("int16x8", _ARM_PRODUCT, *eight)
    return tirx.call_llvm_pure_intrin("int32x4", _ARM_PAIRS, products)


def _whole(vector: tvm.ir.Expr) -> tvm.ir.Expr:
    """What is no more than its lanes to LLVM, which would load and compute each by itself."""
    return tirx.call_llvm_pure_intrin("float32x4", "llvm.arithmetic.fence.v4f32", vector)


def _quad(factor: _Factor) -> tvm.ir.Expr:
    """The four bytes as one number."""
    return T.reinterpret("int32", tirx.BufferLoad(factor.x, [tirx.Ramp(factor.index, 1, 4)]))


def _weights(factor: _Factor, at: int, count: int) -> tvm.ir.Expr:
    return tirx.BufferLoad(factor.w, [tirx.Ramp(factor.base + at, 1, count)])


def _part(total: tvm.ir.Expr, at: int, lanes: int, whole: int) -> tvm.ir.Expr:
    return total if lanes == whole else tirx.Shuffle([total], list(range(at, at + lanes)))


def _joined(parts: list[tvm.ir.Expr], lanes: int) -> tvm.ir.Expr:
    return parts[0] if len(parts) == 1 else tirx.Shuffle(parts, list(range(lanes)))
