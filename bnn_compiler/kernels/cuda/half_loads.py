"""What becomes halves is loaded two neighbours at a time, or without a branch."""

import re

import tvm
import tvm_ffi
from tvm import tirx

_ALIGNED = re.compile(r"p\d+(?!\d*_unaligned)")


@tirx.transform.prim_func_pass(opt_level=0)
class HalfLoads:
    """bnn_half2(p[2 * e], p[2 * e + 1])  ->  bnn_half2_at(&p[2 * e]), see device.cuh.

    Of the kernel's parameters, which are aligned to 8 bytes; bnn_halves_at if those are halves.
    if_then_else(inside, p[e], 0)  ->  bnn_load_if(inside, &p[e]): what addresses have in common is
    computed once if it is not behind a condition.
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
            if not a.source.same_as(b.source) or not _ALIGNED.match(str(a.source.name)):
                return False
            return analyzer.can_prove_equal(
                b.indices[0] - a.indices[0], one
            ) and analyzer.can_prove_equal(tirx.floormod(a.indices[0], 2), 0)

        def call(node: tvm.ir.Call, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            changed = mutator.default_mutate(node)
            args = list(changed.args)
            if len(args) != 3 or not _is_half2(args[0]):
                return changed
            if neighbours(args[1], args[2]):
                return tirx.call_pure_extern("uint32", "bnn_half2_at", _address(args[1]))
            stored = [_from_half(a) for a in args[1:]]
            if neighbours(*stored):
                return tirx.call_pure_extern("uint32", "bnn_halves_at", _address(stored[0]))
            return tirx.call_pure_extern("uint32", "bnn_half2", *map(_branchless, args[1:]))

        return tvm_ffi.structural_mutate(f, [(tvm.ir.Call, call)])


def _is_half2(name: tvm.ir.Expr) -> bool:
    return isinstance(name, tvm.ir.StringImm) and str(name.value) == "bnn_half2"


def _address(load: tvm.ir.TensorLoad) -> tvm.ir.Expr:
    return tirx.address_of(tirx.BufferLoad(load.source, list(load.indices)))


def _from_half(value: tvm.ir.Expr) -> tvm.ir.Expr:
    """The bits that ``value`` was, if it was a half."""
    if not isinstance(value, tvm.ir.Call) or len(value.args) != 2:
        return value
    name, bits = value.args
    is_half = isinstance(name, tvm.ir.StringImm) and str(name.value) == "bnn_from_half"
    return bits if is_half else value


def _branchless(value: tvm.ir.Expr) -> tvm.ir.Expr:
    """The second form, if ``value`` is that."""
    conditional = tvm.ir.Op.get("prim.if_then_else")
    if not (isinstance(value, tvm.ir.Call) and value.op.same_as(conditional)):
        return value
    inside, load, other = value.args
    is_load = isinstance(load, tvm.ir.TensorLoad) and re.match(r"p\d+", str(load.source.name))
    if not is_load or not (isinstance(other, tirx.FloatImm) and float(other.value) == 0):
        return value
    return tirx.call_pure_extern("float32", "bnn_load_if", inside, _address(load))
