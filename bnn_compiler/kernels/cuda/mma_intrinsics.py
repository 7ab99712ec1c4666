"""What a tensor-core instruction computes on its fragments, and its call, in TVMScript.

A fragment is a buffer [register, lane] of scope "warp". ``bnn_mma_*`` are in device.cuh and host.h;
``bnn_dot4``, the sum of four products of signed bytes, and ``bnn_dot2``, that of two products of
halves, are only ever described.
"""

# mypy: ignore-errors
from tvm import tirx
from tvm.script import tirx as T

from bnn_compiler.kernels.cpu.intrinsics import fast_inspect
from bnn_compiler.kernels.cuda.instruction import COLUMNS, HALVES, INSTRUCTIONS, Instruction

_registered = False


def register() -> None:
    """Register with TVM; once per process, later calls do nothing."""
    global _registered
    if _registered:
        return
    _registered = True
    from tvm.s_tir import TensorIntrin

    with fast_inspect():
        for i in (*INSTRUCTIONS.values(), *HALVES.values()):
            TensorIntrin.register(i.name, description(i), call(i))


def description(i: Instruction) -> tirx.PrimFunc:
    """The instruction's meaning, which a loop nest is compared with."""
    (a_count, b_count, c_count), sums = i.registers, i.sums
    pairs = i.rows // 8

    # Where pixel m, channel n and register k are, as simplified as they will be there.
    def pair(m):
        return m // 8 if pairs > 1 else 0

    def half(k):
        return k // 4 if i.words > 4 else 0

    def lane(row, inner, rows, within):
        return (row % 8 if rows > 8 else row) * 4 + (inner % 4 if within > 4 else inner)

    def of_a(m, k):
        return half(k) * pairs + pair(m), lane(m, k, i.rows, i.words)

    def of_b(n, k):
        return half(k), lane(n, k, COLUMNS, i.words)

    def of_c(m, n):
        return pair(m) * 2 + n % 2, lane(m, n // 2, i.rows, 4)

    @T.prim_func(s_tir=True)
    def meaning(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(
            a, (a_count, 32), "uint32", align=64, offset_factor=a_count, scope="warp"
        )
        B = T.match_buffer(
            b, (b_count, 32), "uint32", align=64, offset_factor=b_count, scope="warp"
        )
        C = T.match_buffer(c, (c_count, 32), sums, align=64, offset_factor=c_count, scope="warp")
        with T.sblock("root"):
            T.reads(C[0:c_count, 0:32], A[0:a_count, 0:32], B[0:b_count, 0:32])
            T.writes(C[0:c_count, 0:32])
            for x, y, z in T.grid(i.rows, COLUMNS, i.words):
                with T.sblock("C"):
                    m, n, k = T.axis.remap("SSR", [x, y, z])
                    C[of_c(m, n)] = C[of_c(m, n)] + i.multiply(A[of_a(m, k)], B[of_b(n, k)])

    return meaning


def call(i: Instruction) -> tirx.PrimFunc:
    """The instruction itself."""
    (a_count, b_count, c_count), sums = i.registers, i.sums

    def instruction(A, B, C, t):
        fragments = ((C, c_count), (A, a_count), (B, b_count))
        registers = [buffer[r, t] for buffer, count in fragments for r in range(count)]
        return tirx.call_extern("int32", f"bnn_mma_{i.form}", *registers)

    @T.prim_func(s_tir=True)
    def calling(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(
            a, (a_count, 32), "uint32", align=64, offset_factor=a_count, scope="warp"
        )
        B = T.match_buffer(
            b, (b_count, 32), "uint32", align=64, offset_factor=b_count, scope="warp"
        )
        C = T.match_buffer(c, (c_count, 32), sums, align=64, offset_factor=c_count, scope="warp")
        with T.sblock("root"):
            T.reads(C[0:c_count, 0:32], A[0:a_count, 0:32], B[0:b_count, 0:32])
            T.writes(C[0:c_count, 0:32])
            for t in T.thread_binding(0, 32, "threadIdx.x"):
                T.evaluate(instruction(A, B, C, t))

    return calling
