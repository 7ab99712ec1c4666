"""Kernels that start early read constants ahead, and nothing else by a way that is not coherent."""

import re

import pytest
import torch
from torch import nn

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.kernels.cuda import codegen, early
from bnn_compiler.kernels.cuda.mma import MmaPoint
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.plan import plan, realize
from tests.kernels import kernel
from tests.kernels.cuda.test_machine_code import has_nvcc
from tests.kernels.test_shortcuts import settled
from tests.network import fused


class Small(nn.Module):
    """A float and a binary convolution with a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 40, 3, padding=1), BinaryConv2d(40, 40, 3, padding=1)
        self.sign, self.norm = Sign(), nn.BatchNorm2d(40)

    def forward(self, x):
        x = self.stem(x)
        return self.norm(self.conv(self.sign(x))) + x


@pytest.fixture(scope="module")
def functions():
    torch.manual_seed(0)
    graph = fused(settled(Small()), torch.randn(1, 3, 8, 8))
    schedules = Schedules.load(targets.load("cuda-sm90"), None)
    return realize.realize(plan.plan(graph), schedules, "net")[1]


def loads(ptx):
    """(kernel, instruction, number of the argument) of each load from memory."""
    for body in re.split(r"\.entry (?=\w+_kernel\()", ptx)[1:]:
        name, held = re.match(r"\w+", body)[0], {}
        for line in body.splitlines():
            operation, _, rest = line.strip().partition(" ")
            registers = re.findall(r"%rd\d+", rest)
            argument = re.search(r"_param_(\d+)\]", rest)
            if operation.startswith("ld.global"):
                (number,) = held[registers[-1]]
                yield name, operation, number
            elif operation.startswith("ld.param") and argument and registers:
                held[registers[0]] = {int(argument[1])}
            elif registers:
                held[registers[0]] = set().union(*(held.get(r, set()) for r in registers[1:]))


@pytest.mark.skipif(not has_nvcc(), reason="needs nvcc: pip install nvidia-cuda-nvcc")
def test_only_constants_are_taken_for_constant(functions):
    code = codegen.build(functions, targets.load("cuda-sm90"))
    order = {launch.symbol: launch.order for launch in code.launches.values()}
    fixed = {code.launches[s].symbol: early.constants(f) for s, f in functions.items()}
    found = list(loads(code.ptx))
    assert {name for name, _, _ in found} == set(order)
    for name, operation, number in found:
        assert (".nc" in operation) <= (order[name][number] in fixed[name]), (name, operation)
    ways = {(".nc" in operation, order[n][k] in fixed[n]) for n, operation, k in found}
    assert ways == {(True, True), (False, False)}
    # All before the kernel waits.
    for body in code.ptx.split(".entry ")[1:]:
        ahead, behind = body.split("griddepcontrol.wait;")
        assert "ld.global" not in ahead.replace("ld.global.nc", "")
        assert "prefetch" not in behind
    assert code.ptx.count("prefetch.global.L2") == sum(map(len, fixed.values()))


@pytest.mark.skipif(not has_nvcc(), reason="needs nvcc: pip install nvidia-cuda-nvcc")
def test_kernels_that_do_not_start_early_fetch_nothing_ahead(functions):
    ptx = codegen.build(functions, targets.load("cuda-sm86")).ptx
    assert "prefetch" not in ptx and "griddepcontrol" not in ptx and "ld.global.nc" in ptx


def test_what_is_said_to_be_constant(functions):
    for symbol, function in functions.items():
        named = {i: str(p.name) for i, p in enumerate(function.params)}
        fixed = {named[i] for i in early.constants(function)}
        changing = {named[i] for i in early.made(function)}
        assert "x" in changing, named
        if "_conv2d" in symbol:
            assert {"w", "v0"} <= fixed, named
        # The shortcut, of the binary convolution alone; what is written is neither.
        assert {n for n in changing if n != "x"} <= {n for n in named.values() if n[0] == "t"}
        assert set(range(len(named))) - early.made(function) - {*early.constants(function)}


def test_lines_that_are_fetched():
    one = kernel.task(256, 4, 64, kernel=3)
    function = families.function(one, MmaPoint("and", 1, 4))
    (gpu, count) = (targets.load("cuda-sm90").tvm, len(function.params))
    text, _ = codegen.kernels({"k": function}, gpu)
    assert "BNN_FETCH" not in text and "__restrict__" not in text
    text, launches = codegen.kernels({"k": early.with_constants(function, [1])}, gpu)
    # 64 x 9 x 256 bits are 144 lines of 128 bytes; a thread takes one.
    position = launches["k"].order.index(1)
    assert f"BNN_FETCH(k_kernel, {position}, p1_ptr, line, 144);" in text
    blocks, threads = launches["k"].grid[0], launches["k"].block
    assert f"bnn_thread({threads[0]}, {threads[1]}, {blocks}); line < 144" in text
    assert text.index("BNN_FETCH") < text.index("bnn_begin()")
    assert text.count("__restrict__") == 2 and text.count("BNN_MADE") == 2 * (count - 1)


class Added(nn.Module):
    """Two equal layers: one adds a constant image, the other what a kernel makes."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))
        self.stem = nn.Conv2d(8, 8, 1)
        self.register_buffer("image", torch.randn(1, 8, 6, 6))

    def forward(self, x):
        x = self.stem(x)
        for conv, is_constant in zip(self.convs, self.order, strict=True):
            x = conv(x) + (self.image if is_constant else x)
        return x


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_what_only_one_call_has_from_a_constant_is_none(order):
    torch.manual_seed(0)
    graph = fused(Added(order).eval(), torch.randn(1, 8, 6, 6))
    schedules = Schedules.load(targets.load("cuda-sm90"), None)
    program, found = realize.realize(plan.plan(graph), schedules, "net")
    _, *steps = (s for s in program.steps if "conv2d" in s.kernel)
    places = [{i for i, a in enumerate(s.arguments) if a.buffer is None} for s in steps]
    assert len({s.kernel for s in steps}) == 1 and places[0] != places[1]
    assert {*early.constants(found[steps[0].kernel])} == places[0] & places[1]
