"""PrimFuncs become plain C functions in an object file: no TVM runtime, no heap, no globals.

    int32_t NAME(T0 *a, T1 *b, ..., int32_t first, int32_t last)

computes iterations first..last-1 of the kernel's parallel loop. The pipeline is TVM's for s_tir
on a CPU with ``MakeBareAPI`` where it has ``MakePackedAPI``.
"""

from pathlib import Path

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.target import Target as TvmTarget
from tvm.tirx.buffer import buffer_data_pointer_type, is_buffer_var

from bnn_compiler.target import Target


def with_strides(
    function: tirx.PrimFunc,
    strides: dict[int, list[int]],
    symbol: str,
    unaligned: tuple[int, ...] = (),
) -> tirx.PrimFunc:
    """``function`` under a name, with some parameters (by index) stored with strides.

    Their pointers then mean the first element inside a halo. ``unaligned`` parameters come from
    the caller and are aligned for their element only.
    """
    params = list(function.params)
    changed: dict[tirx.Var, tirx.Var] = {}
    for index in sorted({*strides, *unaligned}):
        old = params[index]
        changed[old] = tirx.decl_buffer(
            old.ty.shape,
            old.ty.dtype,
            old.name,
            strides=strides.get(index),
            data_alignment=4 if index in unaligned else 64,
        )

    def visit(var: tirx.Var, _: tvm_ffi.StructuralMutator) -> tirx.Var:
        return changed.get(var, var)

    if changed:
        function = tvm_ffi.structural_mutate(function, [(tvm.ir.Var, visit)])
    named = function.with_attr("global_symbol", symbol).with_attr("tirx.noalias", True)
    return with_range(named)


def parallel_extent(function: tirx.PrimFunc) -> int:
    """Iterations of the kernel's parallel loop."""
    extents: list[int] = []

    def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        if loop.kind == tirx.ForKind.PARALLEL:
            extents.append(int(loop.extent))
        return mutator.default_mutate(loop)

    tvm_ffi.structural_mutate(function, [(tirx.For, visit)])
    assert len(extents) == 1, "a kernel has one parallel loop"
    return extents[0]


def with_range(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """parallel i in 0..n -> i in first..last, two new int32 parameters.

    The caller splits the range among threads; TVM's own parallel loop would move the body into a
    function that knows no longer that its pointers do not alias.
    """
    first, last = tirx.Var("first", "int32"), tirx.Var("last", "int32")

    def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        if loop.kind != tirx.ForKind.PARALLEL:
            return mutator.default_mutate(loop)
        return tirx.For(loop.loop_var, first, last - first, tirx.ForKind.SERIAL, loop.body)

    changed = tvm_ffi.structural_mutate(function, [(tirx.For, visit)])
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


#: Byte shuffles by vector length: each byte of the result is row[index & 15] of its 16 bytes.
_SHUFFLES = {32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}


@tirx.transform.prim_func_pass(opt_level=0)
class ShuffleTables:
    """table[broadcast(16 * row) + index] -> byte_shuffle(table[row], index), on vectors.

    LLVM would read the table byte by byte.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite the loads of every buffer called "table" (kernels/table.py)."""

        def visit(load: tvm.ir.TensorLoad, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            if load.source.name != "table":
                return mutator.default_mutate(load)
            (at,) = load.indices
            row, index = (at.a, at.b) if isinstance(at.a, tirx.Broadcast) else (at.b, at.a)
            lanes = int(row.lanes)
            values = tirx.BufferLoad(load.source, [tirx.Ramp(row.value, 1, lanes)])
            return tirx.call_llvm_pure_intrin(
                f"uint8x{lanes}", _SHUFFLES[lanes], values, index.value
            )

        return tvm_ffi.structural_mutate(f, [(tvm.ir.TensorLoad, visit)])


def _pipeline() -> tvm.transform.Pass:
    t, x = s_tir.transform, tirx.transform
    return tvm.transform.Sequential(
        [
            t.CanonicalizeLoop(),
            t.LowerInitBlock(),
            t.PlanAndUpdateBufferAllocationLocation(),
            t.ConvertBlocksToOpaque(),
            t.CompactBufferAllocation(),
            t.LowerMatchBuffer(),
            t.StmtSimplify(),
            t.LowerOpaqueBlock(),
            x.FlattenBuffer(),
            x.NarrowDataType(32),
            t.LoopPartition(),
            x.VectorizeLoop(True),
            x.StmtSimplify(),
            ShuffleTables(),
            x.StorageRewrite(),
            t.HoistIfThenElse(),
            x.UnrollLoop(),
            t.RenormalizeSplitPattern(),
            x.StmtSimplify(),
            x.RemoveNoOp(),
            t.RewriteUnsafeSelect(),
            x.CommonSubexprElim(),
            x.VerifyMemory(),
            x.AnnotateEntryFunc(),
            x.SplitHostDevice(),
            MakeBareAPI(),
            KeepLocalsOnStack(),
            x.LowerTVMBuiltin(),
            x.LowerIntrin(),
        ]
    )


def build(functions: dict[str, tirx.PrimFunc], target: Target) -> tvm.runtime.Module:
    """One LLVM module with every function under its symbol."""
    device = TvmTarget({**target.tvm, "num-cores": 1})
    mod = tvm.IRModule({name: f for name, f in functions.items()})
    mod = tirx.transform.BindTarget(device.with_host(device))(mod)
    mod = _pipeline()(mod).with_attr("system_lib_prefix", "bnn_model_")
    return tvm.get_global_func("target.build.llvm")(mod, device)


def write_object(module: tvm.runtime.Module, path: Path) -> None:
    """The module as a relocatable object file."""
    module.write_to_file(str(path), "o")
