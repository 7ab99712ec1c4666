"""Two neighbouring numbers that become halves come in one load of 8 bytes."""

import re

import tvm
import tvm_ffi
from tvm import tirx


@tirx.transform.prim_func_pass(opt_level=0)
class HalfLoads:
    """bnn_half2(p[2 * e], p[2 * e + 1])  ->  bnn_half2_at(&p[2 * e]), see device.cuh.

    Of the kernel's parameters, which are aligned to 8 bytes.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every call of this form."""
        analyzer = tvm.sym.Analyzer()
        one = tirx.const(1, "int32")

        def neighbours(a: tvm.ir.Expr, b: tvm.ir.Expr) -> bool:
            if not (isinstance(a, tvm.ir.TensorLoad) and isinstance(b, tvm.ir.TensorLoad)):
                return False
            # codegen.py names the kernel's parameters.
            if not a.source.same_as(b.source) or not re.match(r"p\d+", str(a.source.name)):
                return False
            return analyzer.can_prove_equal(
                b.indices[0] - a.indices[0], one
            ) and analyzer.can_prove_equal(tirx.floormod(a.indices[0], 2), 0)

        def call(node: tvm.ir.Call, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            changed = mutator.default_mutate(node)
            args = list(changed.args)
            if len(args) != 3 or not _is_half2(args[0]) or not neighbours(args[1], args[2]):
                return changed
            at = tirx.address_of(tirx.BufferLoad(args[1].source, list(args[1].indices)))
            return tirx.call_pure_extern("uint32", "bnn_half2_at", at)

        return tvm_ffi.structural_mutate(f, [(tvm.ir.Call, call)])


def _is_half2(name: tvm.ir.Expr) -> bool:
    return isinstance(name, tvm.ir.StringImm) and str(name.value) == "bnn_half2"
