"""A kernel as a plain C function that computes a range of its parallel loop."""

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx.buffer import buffer_data_pointer_type, is_buffer_var


@tirx.transform.prim_func_pass(opt_level=0)
class TakeRange:
    """parallel i in 0..n -> i in first..last, two new int32 parameters.

    The caller splits the range among threads; TVM's own parallel loop would move the body into a
    function that knows no longer that its pointers do not alias. Late, so that everything before
    can use the bounds of i.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite the loop and the parameters."""
        first, last = tirx.Var("first", "int32"), tirx.Var("last", "int32")

        def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            if loop.kind != tirx.ForKind.PARALLEL:
                return mutator.default_mutate(loop)
            return tirx.For(loop.loop_var, first, last - first, tirx.ForKind.SERIAL, loop.body)

        changed = tvm_ffi.structural_mutate(f, [(tirx.For, visit)])
        return tirx.PrimFunc(
            [*changed.params, first, last], changed.body, changed.ret_type, attrs=changed.attrs
        )


@tirx.transform.prim_func_pass(opt_level=0)
class MakeBareAPI:
    """f(A: Buffer, ...) -> int32_t f(A*, ...), returning 0."""

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Unwrap the buffers; the compute scope keeps frees ahead of the return."""
        params: list[tirx.Var] = []
        body: list[tirx.Stmt] = []
        for p in f.params:
            if is_buffer_var(p):
                pointer = tirx.Var(p.name + "_p", buffer_data_pointer_type(p))
                params.append(pointer)
                body.append(tirx.DeclBuffer(p, data=pointer))
            else:
                params.append(p)
        zero = tirx.IntImm("int32", 0)
        scope = tvm.ir.StringImm(str(f.attrs["global_symbol"]) + "_compute_")
        body += [tirx.AttrStmt(zero, "compute_scope", scope, f.body), tirx.Return(zero)]
        stmt: tirx.Stmt = tirx.SeqStmt(body)
        # LowerTVMBuiltin wants a device even where nothing is allocated on the heap.
        for key, value in (("device_type", 1), ("device_id", 0)):
            stmt = tirx.AttrStmt("default", key, tirx.IntImm("int32", value), stmt)
        target = f.attrs["target"]
        bare = tirx.PrimFunc(params, stmt, ret_type=tvm.ir.PrimType("int32"), attrs=f.attrs)
        return (
            bare.with_attr("target", target.host or target)
            .with_attr("calling_conv", 0)
            .without_attr("tirx.is_entry_func")
        )


@tirx.transform.prim_func_pass(opt_level=0)
class KeepLocalsOnStack:
    """alloc(scope="local") -> the same, marked so that LowerTVMBuiltin does not move it to a heap.

    Tiles are small and of constant size; LLVM promotes them to registers only from the stack.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Annotate every allocation."""

        def visit(alloc: tirx.AllocBuffer, _: tvm_ffi.StructuralMutator) -> tirx.AllocBuffer:
            return tirx.AllocBuffer(
                alloc.buffer,
                {**dict(alloc.annotations), "disable_lower_builtin": tirx.IntImm("bool", 1)},
            )

        return tvm_ffi.structural_mutate(f, [(tirx.AllocBuffer, visit)])
