"""General programs on a CPU: the reference's bits for any shape, and vectors in their loops."""

import ctypes
import re

import numpy as np
import pytest

from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu import abi, link
from bnn_compiler.kernels.cpu import codegen, general, product
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.ops.general import Program
from bnn_compiler.plan.tasks import dense
from bnn_compiler.runtime.tensors import aligned

MATMUL = ["matmul(a0,a1)"]
TURNED = ["permute(a1;[0,2,1])", "matmul(a0,t0)", "number(;0.5)", "mul(t1,t2)"]
MANY = product._MOST_TERMS + 1
#: Shapes of arguments, and a program.
CASES = [
    # Columns and rows that fill tiles, and that do not.
    ([(8, 5), (5, 32)], MATMUL),
    ([(7, 5), (5, 37)], MATMUL),
    ([(2, 9, 33), (2, 41, 33)], TURNED),
    *(([(6, 3), (3, n)], MATMUL) for n in (1, 2, 3, 4, 5, 8, 9, 16, 17)),
    *(([(n, 3), (3, 18)], MATMUL) for n in (1, 2, 3, 4, 5)),
    # Parts of the rows.
    ([(126, 3), (3, 20)], MATMUL),
    ([(2, 257, 3), (2, 3, 20)], MATMUL),
    # One column, one row, one number; batches that are repeated, and of 1.
    ([(3, 19, 7), (3, 7, 1)], MATMUL),
    ([(3, 1, 7), (3, 7, 19)], MATMUL),
    ([(3, 1, 7), (3, 7, 1)], MATMUL),
    ([(2, 3, 6, 7), (3, 7, 10)], MATMUL),
    ([(2, 1, 6, 7), (3, 7, 10)], MATMUL),
    ([(6, 7), (1, 2, 1, 7, 10)], MATMUL),
    ([(5, 1), (1, 20)], MATMUL),
    # Computed operands, and what follows.
    (
        [(5, 11), (11, 18), (18,), (5, 1)],
        ["exp(a0)", "abs(a1)", "matmul(t0,t1)", "add(t2,a2)", "div(t3,a3)", "reshape(t4;[1,5,18])"],
    ),
    # Sums along rows: few terms, whole parts and a rest; several axes; one value; what is fused.
    *(([(3, n)], [f"{op}(a0;[1])"]) for n in (31, 32, 37) for op in ("sum", "prod", "reduce_max")),
    ([(3, 5, 4, 12)], ["sum(a0;[2,3])"]),
    ([(3, 5, 4, 12)], ["sum(a0;[1,3])"]),
    ([(2, 5, 7)], ["sum(a0;[0,1,2])"]),
    ([(3, 64, 1)], ["reduce_min(a0;[1])"]),
    ([(3, 64, 1)], ["sum(a0;[2])"]),
    ([(40, 3)], ["sum(a0;[0])"]),
    (
        [(2, 5, 50), (2, 5, 1)],
        ["sub(a0,a1)", "mul(t0,t0)", "sum(t1;[2])", "reshape(t2;[2,5,1])", "rsqrt(t3)"],
    ),
    ([(2, 50, 6)], ["permute(a0;[0,2,1])", "sum(t0;[2])", "exp(t1)", "mul(t1,t2)"]),
    # More terms than a tile may have.
    *(([(6, MANY), (MANY, n)], MATMUL) for n in (1, 5, 32)),
    ([(2, 6, MANY), (2, 32, MANY)], TURNED),
]


def function(shapes, lines, name="kernel"):
    arguments = tuple(map(tuple, shapes))
    task = PlainTask("general", tuple(map(dense, arguments)), parameters=(arguments, tuple(lines)))
    made = general.function(task)
    return codegen.with_strides(made, {}, name), codegen.parallel_extent(made)


def memory(array):
    made = aligned(max(array.nbytes, 1))[: array.nbytes].view(array.dtype).reshape(array.shape)
    made[...] = array
    return made


def assert_equal(cases, folder):
    """Each program in two ranges, as two threads would compute it, and in numpy."""
    device = targets.load("native")
    made = {f"k{i}": function(*case, f"k{i}") for i, case in enumerate(cases)}
    module = codegen.build({name: f for name, (f, _) in made.items()}, device)
    codegen.write_object(module, folder / "kernels.o")
    (folder / "stub.c").write_text(abi.registration())
    tools = link.toolchain(device.arch, device.link).library
    link.run([*tools, "-fPIC", "-o", "kernels.so", "stub.c", "kernels.o"], folder)
    library = ctypes.CDLL(str(folder / "kernels.so"))
    rng = np.random.default_rng(0)
    for (shapes, lines), (name, (_, extent)) in zip(cases, made.items(), strict=True):
        given = [memory(rng.standard_normal(s).astype(np.float32)) for s in shapes]
        wanted = np.asarray(Program.parse(lines).evaluate(given))
        found = memory(np.full(wanted.shape, 99, wanted.dtype))
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*given, found)]
        for first, last in ((0, extent // 2), (extent // 2, extent)):
            assert library[name](*pointers, first, last) == 0
        assert np.array_equal(found, wanted, equal_nan=True), (shapes, lines)


def test_any_shape_has_the_reference_s_bits(tmp_path):
    assert_equal(CASES, tmp_path)


def test_rows_are_shared_where_columns_are_few():
    assert product.parts(4, 64) == 4 and product.parts(4, 50) == 2 and product.parts(16, 64) == 1
    assert product.parts(1, 7) == product.parts(1, 13) == product.parts(5, 53) == 1
    assert function([(256, 64), (64, 64)], MATMUL)[1] == 16


def innermost_loops(shapes, lines, target="x86-64-v3"):
    """The instructions of each loop without another in it."""
    made, _ = function(shapes, lines)
    text = codegen.build({"kernel": made}, targets.load(target)).inspect_source("s")
    code = [line.split("#")[0].strip() for line in text.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(code) if re.fullmatch(r"\.LBB\w+:", line)}
    spans = [
        (labels[jump[1]], i)
        for i, line in enumerate(code)
        if (jump := re.match(r"j\w+\s+(\.LBB\w+)", line)) and labels.get(jump[1], i) < i
    ]
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[line for line in code[a:b] if line and line[0] != "."] for a, b in inner]


#: Arithmetic on one number.
SCALAR = r"v(add|sub|mul|max|fm\w+)ss\s"


def count(body, name):
    return sum(re.match(name, line) is not None for line in body)


@pytest.mark.parametrize(
    "shapes, turned",
    [
        ([(192, 64), (64, 192)], False),
        ([(192, 64), (64, 192)], True),
        ([(197, 64), (64, 197)], False),
        ([(197, 64), (64, 197)], True),
        ([(64, MANY), (MANY, 64)], False),
    ],
)
def test_products_multiply_tiles_of_vectors(shapes, turned):
    lines = MATMUL
    if turned:
        shapes, lines = [shapes[0], shapes[1][::-1]], ["permute(a1;[1,0])", "matmul(a0,t0)"]
    loop = max(innermost_loops(shapes, lines), key=lambda b: count(b, r"vfm\w+ps.*ymm"))
    fmas = count(loop, r"vfm\w+ps.*ymm")
    # A step of a tile: 4 rows of two vectors; nothing is spilled, and little else is there.
    assert fmas and fmas % 8 == 0 and len(loop) <= 2.2 * fmas + 4
    assert not count(loop, r".*%[er]sp") and not count(loop, SCALAR)


@pytest.mark.parametrize("op", ["sum", "prod", "reduce_max"])
@pytest.mark.parametrize("width", [4096, 4101])
def test_reductions_along_rows_are_vectors(op, width):
    lines = ["sub(a0,a1)", f"{op}(t0;[1])"]
    names = {"sum": "vaddps", "prod": r"vfm\w+ps", "reduce_max": "vmaxps"}
    loop = max(
        innermost_loops([(64, width), (64, 1)], lines),
        key=lambda body: count(body, f"{names[op]}.*ymm"),
    )
    assert count(loop, f"{names[op]}.*ymm") >= 2 and count(loop, "vsubps.*ymm") >= 2
    assert not count(loop, SCALAR)


@pytest.mark.parametrize("width", [192, 197])
def test_a_softmax_s_exponentials_are_vectors(width):
    loop = max(innermost_loops([(64, width), (64, 1)], ["sub(a0,a1)", "exp(t0)"]), key=len)
    fmas = count(loop, r"vfm\w+ps.*ymm")
    assert fmas >= 8 and not count(loop, SCALAR) and not count(loop, "call")
