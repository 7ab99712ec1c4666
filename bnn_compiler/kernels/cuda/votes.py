"""A word of bits that the lanes of a warp sum up is a vote."""

import tvm
import tvm_ffi
from tvm import tirx


@tirx.transform.prim_func_pass(opt_level=0)
class Votes:
    """word = allreduce(+, uint32(bit) << lane)  ->  word = bnn_ballot(bit), of a warp's 32 lanes.

    One instruction instead of five shuffles and sums.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every reduction over threads that has this form."""

        def visit(scope: tirx.AttrStmt, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            if scope.attr_key != "reduce_scope":
                return mutator.default_mutate(scope)
            _, value, condition, word, *lanes = scope.body.value.args
            bit = _bit(value, lanes)
            if bit is None or not isinstance(condition, tirx.IntImm):
                return mutator.default_mutate(scope)
            vote = tirx.call_pure_extern("uint32", "bnn_ballot", bit)
            return tirx.BufferStore(word.source, vote, list(word.indices))

        return tvm_ffi.structural_mutate(f, [(tirx.AttrStmt, visit)])


def _bit(value: tvm.ir.Expr, lanes: list[tirx.Var]) -> tvm.ir.Expr | None:
    """The bit of ``cast(bit) << cast(lane)``, if that is what ``value`` is."""
    if len(lanes) != 1 or not isinstance(value, tvm.ir.prim.expr.LShift):
        return None
    bit, lane = value.a, value.b
    if not (isinstance(lane, tirx.Cast) and lane.value.same_as(lanes[0])):
        return None
    return bit.value if isinstance(bit, tirx.Cast) and str(bit.value.ty.dtype) == "bool" else None
