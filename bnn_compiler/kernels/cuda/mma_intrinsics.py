"""What each tensor-core instruction computes on its fragments, and its call, in TVMScript.

A fragment is a buffer [register, lane] of scope "warp". ``bnn_mma_*`` are in device.cuh and host.h;
``bnn_dot4``, the sum of four products of signed bytes, is only ever described.
"""

# mypy: ignore-errors
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def and_desc(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (4, 32), "uint32", align=64, offset_factor=4, scope="warp")
    B = T.match_buffer(b, (2, 32), "uint32", align=64, offset_factor=2, scope="warp")
    C = T.match_buffer(c, (4, 32), "int32", align=64, offset_factor=4, scope="warp")
    with T.sblock("root"):
        T.reads(C[0:4, 0:32], A[0:4, 0:32], B[0:2, 0:32])
        T.writes(C[0:4, 0:32])
        for i, j, k in T.grid(16, 8, 8):
            with T.sblock("C"):
                m, n, r = T.axis.remap("SSR", [i, j, k])
                C[m // 8 * 2 + n % 2, m % 8 * 4 + n // 2] = C[
                    m // 8 * 2 + n % 2, m % 8 * 4 + n // 2
                ] + T.Cast(
                    "int32",
                    T.popcount(
                        A[r // 4 * 2 + m // 8, m % 8 * 4 + r % 4] & B[r // 4, n * 4 + r % 4]
                    ),
                )


@T.prim_func(s_tir=True)
def and_impl(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (4, 32), "uint32", align=64, offset_factor=4, scope="warp")
    B = T.match_buffer(b, (2, 32), "uint32", align=64, offset_factor=2, scope="warp")
    C = T.match_buffer(c, (4, 32), "int32", align=64, offset_factor=4, scope="warp")
    with T.sblock("root"):
        T.reads(C[0:4, 0:32], A[0:4, 0:32], B[0:2, 0:32])
        T.writes(C[0:4, 0:32])
        for t in T.thread_binding(0, 32, "threadIdx.x"):
            T.evaluate(
                T.call_extern(
                    "int32", "bnn_mma_and",
                    C[0, t], C[1, t], C[2, t], C[3, t],
                    A[0, t], A[1, t], A[2, t], A[3, t], B[0, t], B[1, t],
                )
            )  # fmt: skip


@T.prim_func(s_tir=True)
def int8_desc(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (4, 32), "uint32", align=64, offset_factor=4, scope="warp")
    B = T.match_buffer(b, (2, 32), "uint32", align=64, offset_factor=2, scope="warp")
    C = T.match_buffer(c, (4, 32), "int32", align=64, offset_factor=4, scope="warp")
    with T.sblock("root"):
        T.reads(C[0:4, 0:32], A[0:4, 0:32], B[0:2, 0:32])
        T.writes(C[0:4, 0:32])
        for i, j, k in T.grid(16, 8, 8):
            with T.sblock("C"):
                m, n, r = T.axis.remap("SSR", [i, j, k])
                C[m // 8 * 2 + n % 2, m % 8 * 4 + n // 2] = C[
                    m // 8 * 2 + n % 2, m % 8 * 4 + n // 2
                ] + T.call_pure_extern(
                    "int32", "bnn_dot4",
                    A[r // 4 * 2 + m // 8, m % 8 * 4 + r % 4], B[r // 4, n * 4 + r % 4],
                )  # fmt: skip


@T.prim_func(s_tir=True)
def int8_impl(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (4, 32), "uint32", align=64, offset_factor=4, scope="warp")
    B = T.match_buffer(b, (2, 32), "uint32", align=64, offset_factor=2, scope="warp")
    C = T.match_buffer(c, (4, 32), "int32", align=64, offset_factor=4, scope="warp")
    with T.sblock("root"):
        T.reads(C[0:4, 0:32], A[0:4, 0:32], B[0:2, 0:32])
        T.writes(C[0:4, 0:32])
        for t in T.thread_binding(0, 32, "threadIdx.x"):
            T.evaluate(
                T.call_extern(
                    "int32", "bnn_mma_int8",
                    C[0, t], C[1, t], C[2, t], C[3, t],
                    A[0, t], A[1, t], A[2, t], A[3, t], B[0, t], B[1, t],
                )
            )  # fmt: skip


@T.prim_func(s_tir=True)
def xor_desc(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (1, 32), "uint32", align=64, offset_factor=1, scope="warp")
    B = T.match_buffer(b, (1, 32), "uint32", align=64, offset_factor=1, scope="warp")
    C = T.match_buffer(c, (2, 32), "int32", align=64, offset_factor=2, scope="warp")
    with T.sblock("root"):
        T.reads(C[0:2, 0:32], A[0:1, 0:32], B[0:1, 0:32])
        T.writes(C[0:2, 0:32])
        for i, j, k in T.grid(8, 8, 4):
            with T.sblock("C"):
                m, n, r = T.axis.remap("SSR", [i, j, k])
                C[n % 2, m * 4 + n // 2] = C[n % 2, m * 4 + n // 2] + T.Cast(
                    "int32", T.popcount(A[0, m * 4 + r] ^ B[0, n * 4 + r])
                )


@T.prim_func(s_tir=True)
def xor_impl(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (1, 32), "uint32", align=64, offset_factor=1, scope="warp")
    B = T.match_buffer(b, (1, 32), "uint32", align=64, offset_factor=1, scope="warp")
    C = T.match_buffer(c, (2, 32), "int32", align=64, offset_factor=2, scope="warp")
    with T.sblock("root"):
        T.reads(C[0:2, 0:32], A[0:1, 0:32], B[0:1, 0:32])
        T.writes(C[0:2, 0:32])
        for t in T.thread_binding(0, 32, "threadIdx.x"):
            T.evaluate(T.call_extern("int32", "bnn_mma_xor", C[0, t], C[1, t], A[0, t], B[0, t]))
