"""Float arithmetic rounds on a GPU as it does on CPUs."""

import tvm
import tvm_ffi
from tvm import tirx


@tirx.transform.prim_func_pass(opt_level=0)
class DefineRounding:
    """fma(a, b, c)  ->  bnn_fma(a, b, c), and max and min of floats alike (device.cuh).

    TVM makes a product and a sum of an fma; CUDA's fmaxf has another zero than LLVM's maximum.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every call."""
        fma = tvm.ir.Op.get("tirx.fma")

        def call(node: tvm.ir.Call, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            changed = mutator.default_mutate(node)
            if not changed.op.same_as(fma):
                return changed
            return tirx.call_pure_extern("float32", "bnn_fma", *changed.args)

        def extreme(name: str):  # type: ignore[no-untyped-def]
            def visit(node: tvm.ir.Expr, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
                changed = mutator.default_mutate(node)
                if str(changed.ty.dtype) != "float32":
                    return changed
                return tirx.call_pure_extern("float32", name, changed.a, changed.b)

            return visit

        rules = [
            (tvm.ir.Call, call),
            (tirx.Max, extreme("bnn_max")),
            (tirx.Min, extreme("bnn_min")),
        ]
        return tvm_ffi.structural_mutate(f, rules)
