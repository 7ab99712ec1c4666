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
from tvm.target.codegen import llvm_get_cpu_archlist

from bnn_compiler.errors import TargetError
from bnn_compiler.kernels.cpu.bare_api import KeepLocalsOnStack, MakeBareAPI, TakeRange
from bnn_compiler.kernels.cpu.function_code import ImportFunctions
from bnn_compiler.kernels.cpu.lanes import LanesOfVectors
from bnn_compiler.kernels.cpu.lookups import PairLookUps, ShuffleTables
from bnn_compiler.kernels.cpu.overlap import OverlapTiles
from bnn_compiler.kernels.cpu.pairs import PairProducts
from bnn_compiler.kernels.cpu.prefetch import PrefetchEpilogue
from bnn_compiler.kernels.cpu.quads import QuadProducts
from bnn_compiler.kernels.cpu.skip_padding import SkipPadding
from bnn_compiler.kernels.cpu.tiles import AlignTiles, ExpandBits, TileProducts
from bnn_compiler.target import Target

#: Raised when the passes of the pipeline make other code of the same kernel: tuned records
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
            # A vector of bytes begins at any multiple of its size.
            data_alignment=4 if index in unaligned else 16 if old.ty.dtype == "uint8" else 64,
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


def _pipeline(target: Target) -> tvm.transform.Pass:
    t, x = s_tir.transform, tirx.transform
    # Passes that name instructions LLVM would not find by itself, or order them; measured there.
    bits = target.cpu.vector_bits
    x86 = target.arch == "x86_64" and bits in (256, 512)
    tiles = target.cpu.tiles
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
            *([OverlapTiles(), TileProducts(target)] if tiles else []),
            *([PrefetchEpilogue()] if x86 else []),
            x.FlattenBuffer(),
            x.NarrowDataType(32),
            t.LoopPartition(),
            x.VectorizeLoop(True),
            x.StmtSimplify(),
            *([ExpandBits()] if tiles else []),
            *([ShuffleTables(), PairProducts(bits)] if x86 else []),
            *([QuadProducts(target)] if x86 else []),
            x.StorageRewrite(),
            t.HoistIfThenElse(),
            x.UnrollLoop(),
            t.RenormalizeSplitPattern(),
            x.StmtSimplify(),
            *([QuadProducts(target), LanesOfVectors()] if target.arch == "aarch64" else []),
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
            *([AlignTiles()] if tiles else []),
            x.LowerTVMBuiltin(),
            ImportFunctions(),
            x.LowerIntrin(),
        ]
    )


def check(target: Target) -> None:
    """Raise TargetError for a CPU that LLVM does not know: it would compile for a generic one."""
    tvm_target = TvmTarget(target.tvm)
    name = str(tvm_target.attrs.get("mcpu", ""))
    if tvm_target.kind.name == "llvm" and name and name not in llvm_get_cpu_archlist(tvm_target):
        raise TargetError(f"target {target.name}: LLVM knows no mcpu {name!r} of {target.arch}")


def build(functions: dict[str, tirx.PrimFunc], target: Target) -> tvm.runtime.Module:
    """One LLVM module with every function under its symbol."""
    tvm_target = TvmTarget({**target.tvm, "num-cores": 1})
    mod = tvm.IRModule({name: f for name, f in functions.items()})
    mod = tirx.transform.BindTarget(tvm_target.with_host(tvm_target))(mod)
    mod = _pipeline(target)(mod).with_attr("system_lib_prefix", "bnn_model_")
    return tvm.get_global_func("target.build.llvm")(mod, tvm_target)


def write_object(module: tvm.runtime.Module, path: Path) -> None:
    """The module as a relocatable object file."""
    module.write_to_file(str(path), "o")
