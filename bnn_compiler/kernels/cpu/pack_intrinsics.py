"""Description and implementation of the packing intrinsics, in TVMScript."""

# mypy: ignore-errors
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def greater_equal_desc(
    Y: T.Buffer((16,), "float32", offset_factor=1),
    Th: T.Buffer((16,), "float32", offset_factor=1),
    Q: T.Buffer((1,), "uint16", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(Q[0], Th[0:16], Y[0:16])
        T.writes(Q[0])
        for i in T.serial(0, 16):
            with T.sblock("pack"):
                vi = T.axis.remap("R", [i])
                Q[0] = Q[0] | T.shift_left(T.Cast("uint16", Th[vi] <= Y[vi]), T.Cast("uint16", vi))


@T.prim_func(s_tir=True)
def greater_equal_impl(
    Y: T.Buffer((16,), "float32", offset_factor=1),
    Th: T.Buffer((16,), "float32", offset_factor=1),
    Q: T.Buffer((1,), "uint16", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(Q[0], Th[0:16], Y[0:16])
        T.writes(Q[0])
        Q[0] = Q[0] | T.reinterpret(
            "uint16",
            T.Cast("uint1x16", Y.vload([0], "float32x16") >= Th.vload([0], "float32x16")),
        )


@T.prim_func(s_tir=True)
def greater_desc(
    Y: T.Buffer((16,), "float32", offset_factor=1),
    Th: T.Buffer((16,), "float32", offset_factor=1),
    Q: T.Buffer((1,), "uint16", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(Q[0], Th[0:16], Y[0:16])
        T.writes(Q[0])
        for i in T.serial(0, 16):
            with T.sblock("pack"):
                vi = T.axis.remap("R", [i])
                Q[0] = Q[0] | T.shift_left(T.Cast("uint16", Th[vi] < Y[vi]), T.Cast("uint16", vi))


@T.prim_func(s_tir=True)
def greater_impl(
    Y: T.Buffer((16,), "float32", offset_factor=1),
    Th: T.Buffer((16,), "float32", offset_factor=1),
    Q: T.Buffer((1,), "uint16", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(Q[0], Th[0:16], Y[0:16])
        T.writes(Q[0])
        Q[0] = Q[0] | T.reinterpret(
            "uint16",
            T.Cast("uint1x16", Y.vload([0], "float32x16") > Th.vload([0], "float32x16")),
        )
