"""PrimFuncs become CUDA source, PTX and machine code.

The pipeline is TVM's for s_tir on a GPU without the host's part. Common subexpressions are left to
nvcc: TVM's elimination would hide the lane from LowerWarpMemory.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.target import Target as TvmTarget

from bnn_compiler.kernels.cuda import async_copies, early, nvcc
from bnn_compiler.kernels.cuda.async_copies import AsyncCopies
from bnn_compiler.kernels.cuda.device_code import DeviceCode, Launch
from bnn_compiler.kernels.cuda.function_code import definition
from bnn_compiler.kernels.cuda.half_loads import HalfLoads
from bnn_compiler.kernels.cuda.loads_ahead import loads_ahead
from bnn_compiler.kernels.cuda.pair_loads import PairLoads
from bnn_compiler.kernels.cuda.rounding import DefineRounding
from bnn_compiler.kernels.cuda.votes import Votes
from bnn_compiler.kernels.functions import calls_of
from bnn_compiler.target import Target

#: Raised when the passes of the pipeline make other code of the same kernel: tuned records
#: are stale then.
VERSION = 3

_DEVICE = Path(__file__).with_name("device.cuh")
_AXES = ("x", "y", "z")


def check(target: Target) -> None:
    """Raise TargetError for no GPU, BuildError if there is no nvcc."""
    assert target.gpu.sm
    nvcc.tools()


def build(functions: Mapping[str, tirx.PrimFunc], target: Target) -> DeviceCode:
    """Every kernel, compiled for ``target``'s architecture. Raises BuildError."""
    text, launches = kernels(functions, target.tvm)
    text = _DEVICE.read_text() + text
    sm = target.gpu.sm
    ptx = nvcc.to_ptx(text, sm)
    image, said = nvcc.to_cubin(ptx, sm)
    ptx, spilled = nvcc.with_registers(ptx, said)
    if spilled:
        image, _ = nvcc.to_cubin(ptx, sm)
    return DeviceCode(text, {f"sm_{sm}": image}, ptx, launches)


def kernels(
    functions: Mapping[str, tirx.PrimFunc], tvm_target: Mapping[str, Any]
) -> tuple[str, dict[str, Launch]]:
    """CUDA source of every kernel, without what it calls, and how to launch each."""
    named, called = {}, set()
    for symbol, f in functions.items():
        named[symbol], found = calls_of(_numbered(f, symbol))
        called.update(found)
    gpu = TvmTarget(dict(tvm_target))
    mod = tirx.transform.BindTarget(gpu.with_host(TvmTarget("llvm")))(tvm.IRModule(named))
    mod = _pipeline()(mod)
    device = tirx.transform.Filter(lambda f: f.attrs["target"].kind.name == "cuda")(mod)
    made = {symbol: early.made(f) for symbol, f in functions.items()}
    device = _finish(made)(device)
    launches = {}
    for name, kernel in ((str(f.attrs["global_symbol"]), f) for f in device.functions.values()):
        symbol = name.removesuffix("_kernel")
        order = tuple(int(re.match(r"p(\d+)", p.name)[1]) for p in kernel.params)  # type: ignore[index]
        shape = dimensions(functions[symbol])
        launches[symbol] = Launch(name, *shape, _dynamic_shared(kernel), order)
    with _no_compiler():
        module = tvm.get_global_func("target.build.cuda")(device, gpu)
    definitions = "".join(map(definition, sorted(called)))
    text = early.started_early(_body(module.inspect_source()), functions, launches)
    return definitions + text, launches


def dimensions(function: tirx.PrimFunc) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(grid, block) of a scheduled kernel."""
    found: dict[str, int] = {}

    def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        if loop.kind == tirx.ForKind.THREAD_BINDING:
            found[str(loop.thread_binding.thread_tag)] = int(loop.extent)
        return mutator.default_mutate(loop)

    tvm_ffi.structural_mutate(function, [(tirx.For, visit)])
    grid, block = (
        tuple(found.get(f"{kind}Idx.{axis}", 1) for axis in _AXES) for kind in ("block", "thread")
    )
    return grid, block  # type: ignore[return-value]


def _dynamic_shared(kernel: tirx.PrimFunc) -> int:
    """Bytes of a lowered kernel's dynamic shared memory, which is one buffer."""
    found = [0]

    def visit(made: tirx.AllocBuffer, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        if made.buffer.scope() == "shared.dyn":
            found.append(math.prod(int(n) for n in made.buffer.ty.shape))
        return mutator.default_mutate(made)

    tvm_ffi.structural_mutate(kernel, [(tirx.AllocBuffer, visit)])
    return max(found)


def blocks(function: tirx.PrimFunc) -> int:
    """Blocks of the kernel's grid."""
    return math.prod(dimensions(function)[0])


def _numbered(function: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """Parameter i is called p<i>: a CUDA function's are in the order of their use.

    One that is aligned for its element only is called p<i>_unaligned.
    """
    changed = {
        old: tirx.decl_buffer(
            old.ty.shape,
            old.ty.dtype,
            f"p{i}_unaligned" if int(old.ty.data_alignment) < 8 else f"p{i}",
            strides=list(old.ty.strides) or None,
        )
        for i, old in enumerate(function.params)
    }

    def visit(var: tirx.Var, _: tvm_ffi.StructuralMutator) -> tirx.Var:
        return changed.get(var, var)

    function = tvm_ffi.structural_mutate(function, [(tvm.ir.Var, visit)])
    return function.with_attr("global_symbol", symbol).with_attr("tirx.noalias", True)


@tirx.transform.prim_func_pass(opt_level=0)
class _Begin:
    """kernel(...) { body }  ->  kernel(...) { bnn_begin(); body }, see device.cuh."""

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Put the call ahead."""
        begin = tirx.Evaluate(tirx.call_extern("int32", "bnn_begin"))
        return f.with_body(tirx.SeqStmt([begin, f.body]))


def _pipeline() -> tvm.transform.Pass:
    t, x = s_tir.transform, tirx.transform
    return tvm.transform.Sequential(
        [
            t.CanonicalizeLoop(),
            t.LowerCrossThreadReduction(),
            t.LowerInitBlock(),
            t.PlanAndUpdateBufferAllocationLocation(),
            t.ConvertBlocksToOpaque(),
            t.LiftThreadBinding(),
            t.CompactBufferAllocation(),
            t.UnifyThreadBinding(),
            t.LowerMatchBuffer(),
            t.StmtSimplify(),
            t.InjectSoftwarePipeline(),
            t.LowerOpaqueBlock(),
            DefineRounding(),
            x.FlattenBuffer(),
            x.NarrowDataType(32),
            t.LoopPartition(),
            x.VectorizeLoop(True),
            x.StorageRewrite(),
            t.HoistIfThenElse(),
            x.UnrollLoop(),
            t.RenormalizeSplitPattern(),
            x.StmtSimplify(),
            x.RemoveNoOp(),
            t.RewriteUnsafeSelect(),
            x.VerifyMemory(),
            x.AnnotateEntryFunc(),
            t.ThreadSync("shared"),
            t.ThreadSync("shared.dyn"),
            t.ThreadSync("warp"),
            Votes(),
            t.LowerThreadAllreduce(),
            t.MergeSharedMemoryAllocations(),
            x.SplitHostDevice(),
            x.MakePackedAPI(),
        ]
    )


def _finish(made: Mapping[str, Collection[int]]) -> tvm.transform.Pass:
    x = tirx.transform
    return tvm.transform.Sequential(
        [
            # One warp buffer a run.
            *(x.LowerWarpMemory() for _ in range(4)),
            x.StmtSimplify(),
            loads_ahead(made),
            x.StmtSimplify(),
            PairLoads(),
            AsyncCopies(),
            HalfLoads(),
            _Begin(),
            x.LowerIntrin(),
        ]
    )


def _body(text: str) -> str:
    """TVM's source without its headers, of which the kernels use nothing."""
    return "\n" + async_copies.named(text[text.index('extern "C" __global__') :])


@contextmanager
def _no_compiler() -> Iterator[None]:
    """Where there is a GPU, TVM would compile what it writes: only the text is wanted."""
    name = "tvm_callback_cuda_compile"
    before = tvm.get_global_func(name)
    tvm_ffi.register_global_func(name, lambda code: code.encode(), override=True)
    try:
        yield
    finally:
        tvm_ffi.register_global_func(name, before, override=True)
