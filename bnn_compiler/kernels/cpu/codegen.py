"""PrimFuncs become plain C functions in an object file: no TVM runtime, no heap, no globals.

    int32_t NAME(T0 *a, T1 *b, ..., int32_t first, int32_t last)

computes iterations first..last-1 of the kernel's parallel loop. The pipeline is TVM's for s_tir
on a CPU with ``MakeBareAPI`` where it has ``MakePackedAPI``.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.script import tirx as T
from tvm.target import Target as TvmTarget
from tvm.target.codegen import llvm_get_cpu_archlist
from tvm.tirx.buffer import buffer_data_pointer_type, is_buffer_var

from bnn_compiler.errors import TargetError
from bnn_compiler.kernels.cpu.lookups import PairLookUps, ShuffleTables
from bnn_compiler.kernels.cpu.prefetch import PrefetchEpilogue
from bnn_compiler.target import Target

#: Raised when the passes here or in lookups.py make other code of the same kernel: tuned records
#: are stale then.
VERSION = 1


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
    return function.with_attr("global_symbol", symbol).with_attr("tirx.noalias", True)


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


@tirx.transform.prim_func_pass(opt_level=0)
class SkipPadding:
    """for ky: body(x[row(y, ky)])  ->  for ky: if row(y, ky) lies in the image: body(...)

    For loops annotated with the stored rows of the image (schedule.py): the others hold zeros.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Guard each annotated loop's body; the input is the first parameter."""

        def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            if SKIP_ROWS not in loop.annotations:
                return mutator.default_mutate(loop)
            first, last = (int(v) for v in loop.annotations[SKIP_ROWS])
            row = _row_read(loop.body, f.params[0])
            body = tirx.IfThenElse(tirx.all(row >= first, row < last), loop.body, None)
            return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)

        return tvm_ffi.structural_mutate(f, [(tirx.For, visit)])


#: Annotation of a loop over kernel rows: [first, last) of the stored rows that hold the image.
SKIP_ROWS = "bnn.skip_rows"


def _row_read(body: tirx.Stmt, x: tirx.Var) -> tvm.ir.Expr:
    """The row of ``x`` [N, H, W, ...] that ``body`` reads."""
    rows: list[tvm.ir.Expr] = []

    def visit(load: tvm.ir.TensorLoad, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
        if load.source.same_as(x):
            rows.append(load.indices[1])
        return mutator.default_mutate(load)

    tvm_ffi.structural_mutate(body, [(tvm.ir.TensorLoad, visit)])
    return rows[0]


@dataclass(frozen=True)
class _Factor:
    """broadcast(i32(x[index])) * i32(w[ramp(base, 2, lanes)])."""

    x: tirx.Var
    index: tvm.ir.Expr
    w: tirx.Var
    base: tvm.ir.Expr
    lanes: int

    @staticmethod
    def of(expr: tvm.ir.Expr) -> "_Factor | None":
        """Match ``expr``."""
        if not isinstance(expr, tirx.Mul):
            return None
        one, many = (expr.a, expr.b) if isinstance(expr.a, tirx.Broadcast) else (expr.b, expr.a)
        if not isinstance(one, tirx.Broadcast) or not isinstance(many, tirx.Cast):
            return None
        x, w = getattr(one.value, "value", None), many.value
        if not isinstance(x, tvm.ir.TensorLoad) or not isinstance(w, tvm.ir.TensorLoad):
            return None
        ramp = w.indices[0]
        if str(x.source.ty.dtype) != "int16" or not isinstance(ramp, tirx.Ramp):
            return None
        if int(ramp.stride) != 2:
            return None
        return _Factor(x.source, x.indices[0], w.source, ramp.base, int(ramp.lanes))


#: Sums of two products of 16 bits by the number of sums.
_PAIRS = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


@tirx.transform.prim_func_pass(opt_level=0)
class PairProducts:
    """i32(x[i]) * i32(w[0::2]) + i32(x[i + 1]) * i32(w[1::2]) -> multiply_add_pairs(x[i:i + 2], w).

    ``x[i]`` is one int16 for all lanes, ``w`` a vector with two for each (int16.py). LLVM would
    widen both first.
    """

    def __init__(self, vector_bits: int) -> None:
        self.lanes = vector_bits // 32

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite sum + first + second."""

        def visit(node: tirx.Add, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            if isinstance(node.a, tirx.Add):
                first, second = _Factor.of(node.a.b), _Factor.of(node.b)
                if first and second:
                    assert first.x.same_as(second.x) and first.w.same_as(second.w)
                    return node.a.a + self._product(first)
            return mutator.default_mutate(node)

        return tvm_ffi.structural_mutate(f, [(tirx.Add, visit)])

    def _product(self, factor: _Factor) -> tvm.ir.Expr:
        """As many instructions as the vector is wide."""
        lanes = min(self.lanes, factor.lanes)
        pair = tirx.BufferLoad(factor.x, [tirx.Ramp(factor.index, 1, 2)])
        pairs = T.reinterpret(
            f"int16x{2 * lanes}", tirx.Broadcast(T.reinterpret("int32", pair), lanes)
        )
        parts = [
            tirx.call_llvm_pure_intrin(
                f"int32x{lanes}",
                _PAIRS[lanes],
                pairs,
                tirx.BufferLoad(factor.w, [tirx.Ramp(factor.base + 2 * at, 1, 2 * lanes)]),
            )
            for at in range(0, factor.lanes, lanes)
        ]
        return parts[0] if len(parts) == 1 else tirx.Shuffle(parts, list(range(factor.lanes)))


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


def _pipeline(target: Target) -> tvm.transform.Pass:
    t, x = s_tir.transform, tirx.transform
    # Passes that name instructions LLVM would not find by itself, or order them; measured there.
    bits = target.hardware.vector_bits
    x86 = target.arch == "x86_64" and bits in (256, 512)
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
            SkipPadding(),
            *([PrefetchEpilogue()] if x86 else []),
            x.FlattenBuffer(),
            x.NarrowDataType(32),
            t.LoopPartition(),
            x.VectorizeLoop(True),
            x.StmtSimplify(),
            *([ShuffleTables(), PairProducts(bits)] if x86 else []),
            x.StorageRewrite(),
            t.HoistIfThenElse(),
            x.UnrollLoop(),
            t.RenormalizeSplitPattern(),
            x.StmtSimplify(),
            *([LanesOfVectors()] if target.arch == "aarch64" else []),
            x.RemoveNoOp(),
            *([PairLookUps()] if x86 else []),
            t.RewriteUnsafeSelect(),
            x.CommonSubexprElim(),
            x.VerifyMemory(),
            x.AnnotateEntryFunc(),
            x.SplitHostDevice(),
            TakeRange(),
            MakeBareAPI(),
            KeepLocalsOnStack(),
            x.LowerTVMBuiltin(),
            x.LowerIntrin(),
        ]
    )


def check(target: Target) -> None:
    """Raise TargetError for a CPU that LLVM does not know: it would compile for a generic one."""
    device = TvmTarget(target.tvm)
    name = str(device.attrs.get("mcpu", ""))
    if device.kind.name == "llvm" and name and name not in llvm_get_cpu_archlist(device):
        raise TargetError(f"target {target.name}: LLVM knows no mcpu {name!r} of {target.arch}")


def build(functions: dict[str, tirx.PrimFunc], target: Target) -> tvm.runtime.Module:
    """One LLVM module with every function under its symbol."""
    device = TvmTarget({**target.tvm, "num-cores": 1})
    mod = tvm.IRModule({name: f for name, f in functions.items()})
    mod = tirx.transform.BindTarget(device.with_host(device))(mod)
    mod = _pipeline(target)(mod).with_attr("system_lib_prefix", "bnn_model_")
    return tvm.get_global_func("target.build.llvm")(mod, device)


def write_object(module: tvm.runtime.Module, path: Path) -> None:
    """The module as a relocatable object file."""
    module.write_to_file(str(path), "o")
