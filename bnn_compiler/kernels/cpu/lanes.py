"""A broadcast from memory is a lane of a vector on NEON."""

import math

import tvm
import tvm_ffi
from tvm import tirx


@tirx.transform.prim_func_pass(opt_level=0)
class LanesOfVectors:
    """broadcast(x[4 * i + 2])  ->  broadcast(x[4 * i : 4 * i + 4][2]), with 4 as large as can be.

    NEON copies a lane, or multiplies by one, in one instruction; a broadcast from memory takes a
    register for the address. LLVM then loads each vector once.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite broadcasts of loads whose place in an aligned vector is known."""
        analyzer = tvm.sym.Analyzer()

        def visit(node: tirx.Broadcast, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            load = node.value
            if not isinstance(load, tvm.ir.TensorLoad):
                return mutator.default_mutate(node)
            (at,) = load.indices
            known = analyzer.modular_set(at)
            most = 16 // tvm.DataType(load.ty.dtype).itemsize
            lanes = math.gcd(known.coeff, most)
            if lanes == 1:
                return mutator.default_mutate(node)
            lane = known.base % lanes
            vector = tirx.BufferLoad(load.source, [tirx.Ramp(at - lane, 1, lanes)])
            return tirx.Broadcast(tirx.Shuffle([vector], [lane]), node.lanes)

        return tvm_ffi.structural_mutate(f, [(tirx.Broadcast, visit)])
