"""Functions of one value as LLVM IR: inlined, in vectors, and nothing of them left to a libm."""

import struct
from typing import Any

import numpy as np
import tvm
from tvm import tirx

from bnn_compiler.kernels.functions import Called, Text, calls_of

_DECLARED = ("fabs", "sqrt", "nearbyint", "floor", "ceil")


@tirx.transform.prim_func_pass(opt_level=0)
class ImportFunctions:
    """tirx.bnn_exp(x)  ->  bnn_exp_x16(x), which is imported."""

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every call."""
        changed, called = calls_of(f)
        if not called:
            return f
        lanes = sorted({c.lanes for c in called})
        text = "\n".join([*map(_declarations, lanes), *map(_definition, called)])
        imported = tvm.ir.StringImm(text)
        body = tirx.AttrStmt(tirx.IntImm("int32", 0), "pragma_import_llvm", imported, changed.body)
        return tirx.PrimFunc(changed.params, body, changed.ret_type, attrs=changed.attrs)


def _type(kind: str, lanes: int) -> str:
    return kind if lanes == 1 else f"<{lanes} x {kind}>"


def _suffix(lanes: int) -> str:
    return "f32" if lanes == 1 else f"v{lanes}f32"


def _declarations(lanes: int) -> str:
    t, suffix = _type("float", lanes), _suffix(lanes)
    unary = [f"declare {t} @llvm.{name}.{suffix}({t})" for name in _DECLARED]
    return "\n".join([f"declare {t} @llvm.fma.{suffix}({t}, {t}, {t})", *unary])


def _definition(called: Called) -> str:
    text = _Llvm(called.lanes)
    result, t = called.write(text, "%x"), _type("float", called.lanes)
    lines = "\n".join(f"  {line}" for line in text.lines)
    return f"define {t} @{called.symbol}({t} %x) alwaysinline {{\n{lines}\n  ret {t} {result}\n}}"


class _Llvm(Text):
    """LLVM IR on vectors of ``lanes``, or scalars."""

    def __init__(self, lanes: int) -> None:
        f, i, b = (_type(kind, lanes) for kind in ("float", "i32", "i1"))
        suffix = _suffix(lanes)

        def intrinsic(name: str) -> str:
            return f"{{name}} = call {f} @llvm.{name}.{suffix}({f} {{}})"

        super().__init__(
            {
                "name": "%t{}",
                "fma": f"{{name}} = call {f} @llvm.fma.{suffix}({f} {{}}, {f} {{}}, {f} {{}})",
                "add": f"{{name}} = fadd {f} {{}}, {{}}",
                "sub": f"{{name}} = fsub {f} {{}}, {{}}",
                "div": f"{{name}} = fdiv {f} {{}}, {{}}",
                "sqrt": intrinsic("sqrt"),
                "absolute": intrinsic("fabs"),
                "rounded": intrinsic("nearbyint"),
                "floor": intrinsic("floor"),
                "ceil": intrinsic("ceil"),
                "where": f"{{name}} = select {b} {{}}, {f} {{}}, {f} {{}}",
                "less": f"{{name}} = fcmp olt {f} {{}}, {{}}",
                "equal": f"{{name}} = fcmp oeq {f} {{}}, {{}}",
                "bits": f"{{name}} = bitcast {f} {{}} to {i}",
                "from_bits": f"{{name}} = bitcast {i} {{}} to {f}",
                "to_float": f"{{name}} = sitofp {i} {{}} to {f}",
                "plus": f"{{name}} = add {i} {{}}, {{}}",
                "minus": f"{{name}} = sub {i} {{}}, {{}}",
                "left": f"{{name}} = shl {i} {{}}, {{}}",
                "right": f"{{name}} = ashr {i} {{}}, {{}}",
            }
        )
        self._lanes = lanes

    def float(self, a: Any) -> str:
        """A number as the bits of a double, which is how LLVM writes a float."""
        if isinstance(a, str):
            return a
        # Of every NaN the same bits.
        number = float(np.float32(a)) if a == a else float("nan")
        return self._splat("float", f"0x{struct.pack('>d', number).hex().upper()}")

    def int(self, a: Any) -> str:
        """An integer in decimal."""
        return a if isinstance(a, str) else self._splat("i32", str(a))

    def _splat(self, kind: str, literal: str) -> str:
        if self._lanes == 1:
            return literal
        return "<" + ", ".join([f"{kind} {literal}"] * self._lanes) + ">"
