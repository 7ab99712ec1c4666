"""What goes from a parameter straight to dynamic shared memory goes there while threads go on."""

import re

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Op, TensorLoad

from bnn_compiler.kernels.cuda.words import WORD

#: What TVM's code generator writes for the ends of a pipeline's groups, and what it means here.
_COMMIT = re.compile(r"tvm_builtin_ptx_cp_async_commit_group_async_commit_group\(\)")
_WAIT = re.compile(r"tvm_builtin_ptx_cp_async_wait_group_async_wait_group_(\d+)\(\)")


@tirx.transform.prim_func_pass(opt_level=0)
class AsyncCopies:
    """shared[e : e + n] = p[f : f + n]  ->  bnn_copy<n>(inside, &shared[e], &p[f]), device.cuh.

    Of 1, 2 or 4 words, aligned to their size, 0 where they are not ``inside``. Shared memory that
    is not dynamic is written by whom it is read: nothing waits for copies to it.
    """

    def transform_function(self, f: tirx.PrimFunc, mod: object, ctx: object) -> tirx.PrimFunc:
        """Rewrite every store of this form."""

        def visit(store: tirx.BufferStore, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            value, inside = store.value, tirx.const(True, "bool")
            if store.buffer.scope() != "shared.dyn":
                return mutator.default_mutate(store)
            if isinstance(value, Call) and value.op.same_as(Op.get("prim.if_then_else")):
                inside, value, _ = value.args
            # codegen.py names the kernel's parameters.
            if not isinstance(value, TensorLoad) or not re.match(r"p\d+$", str(value.source.name)):
                return mutator.default_mutate(store)
            target, count = _first(store.buffer, store.indices)
            source, _ = _first(value.source, value.indices)
            bits = WORD * count
            return tirx.Evaluate(
                tirx.call_extern("int32", f"bnn_copy{bits // 8}", inside, target, source)
            )

        return tvm_ffi.structural_mutate(f, [(tirx.BufferStore, visit)])


def _first(buffer: tirx.Var, indices: list[object]) -> tuple[object, int]:
    """The address of the first element, and how many there are."""
    (index,) = indices
    count = 1
    if isinstance(index, tirx.Ramp):
        index, count = index.base, int(index.lanes)
    return tirx.address_of(tirx.BufferLoad(buffer, [index])), count


def named(text: str) -> str:
    """CUDA source with this project's names for what ends a group of copies and waits for one."""
    return _WAIT.sub(r"bnn_wait_copies<\1>()", _COMMIT.sub("bnn_end_copies()", text))
