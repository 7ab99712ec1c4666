"""Products on tensor cores, emulated, and what nvcc makes of them."""

import re
import shutil

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda import codegen, nvcc
from bnn_compiler.kernels.cuda.instruction import INSTRUCTIONS
from bnn_compiler.kernels.cuda.mma import Mma, MmaPoint
from tests.kernels import kernel
from tests.kernels.cuda import emulated

FORMS = {"and": "cuda-sm90", "xor": "cuda-sm75", "int8": "cuda-sm100"}
SHAPES = {
    "3x3": {"channels": 64, "size": 5, "outputs": 64},
    "rows of several images": {"channels": 40, "size": 3, "outputs": 24, "batch": 3},
    "odd": {"channels": 33, "size": 5, "outputs": 51, "stride": 2},
    "half a word": {"channels": 16, "size": 4, "outputs": 16},
    "one pixel": {"channels": 100, "size": 1, "outputs": 64, "pad_value": -1},
    "1x1": {"channels": 96, "size": 4, "outputs": 100, "kernel": 1, "pad": 0},
    "groups": {"channels": 128, "size": 4, "outputs": 128, "groups": 2},
    "masked groups": {"channels": 64, "size": 4, "outputs": 48, "groups": 4},
    "dilated, unequal, +1": {
        "channels": 64,
        "size": 5,
        "outputs": 32,
        "pad": (2, 0, 1, 3),
        "dilation": 2,
        "pad_value": 1,
    },
}


def gpu(form):
    return targets.load(FORMS[form]).gpu


def test_the_forms_are_those_of_targets():
    assert set(INSTRUCTIONS) == set(FORMS)
    assert all(gpu(form).binary == form for form in FORMS)


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
@pytest.mark.parametrize("form", FORMS)
def test_the_references_bits(form, tmp_path):
    family, hardware = Mma(), gpu(form)
    rng = np.random.default_rng(0)
    cases = []
    for shape in SHAPES.values():
        one = kernel.task(**shape)
        if not family.fits(one, hardware):
            assert form == "xor" and shape.get("groups") == 4
            continue
        points = list(family.points(one, hardware))
        assert family.rule(one, hardware) in points
        chosen = [family.rule(one, hardware), points[rng.integers(len(points))]]
        cases += [(one, p, *kernel.inputs(one)) for p in dict.fromkeys(chosen)]
    assert any(p.splits > 1 for _, p, *_ in cases)
    assert any(p.across * p.down > 1 for _, p, *_ in cases)
    for case, found in zip(cases, emulated.run_all(cases, tmp_path), strict=True):
        wanted = kernel.expected(case[0], *case[2:])
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b), (str(case[0]), case[1])


def test_what_is_too_small_for_a_tile_is_counted():
    groups = {"channels": 96, "outputs": 48, "groups": 3}
    for shape in ({"channels": 3, "outputs": 64}, {"channels": 64, "outputs": 4}, groups):
        one = kernel.task(**{"size": 6, **shape})
        assert families.rule(one, gpu("and")).family == "popc"


def test_large_layers_have_large_tiles_and_small_ones_parts():
    small, large = (kernel.task(512, 7, 512, batch=batch) for batch in (1, 256))
    rules = [Mma().rule(t, gpu("and")) for t in (small, large)]
    assert rules[0].splits > 1 == rules[1].splits
    assert rules[0].pixels < rules[1].pixels


@pytest.mark.parametrize("form", FORMS)
def test_machine_code(form):
    try:
        nvcc.tools()
    except BuildError:
        pytest.skip("needs nvcc")
    one = kernel.task(64, 8, 64)
    rows = 2
    point = MmaPoint(form, rows, 4)
    target = targets.load(FORMS[form])
    code = codegen.build({"kernel": families.function(one, point)}, target)
    wanted = {"and": ".b1.b1.s32.and.popc", "xor": ".b1.b1.s32.xor.popc", "int8": ".s8.s8.s32"}
    # Four tiles of channels and, with "and", one of ones.
    tiles = rows * (5 if form == "and" else 4)
    used = [line for line in code.ptx.splitlines() if "mma.sync" in line]
    assert used and all(wanted[form] in line for line in used)
    assert len(used) % tiles == 0
    # Weights and, of bits, neighbouring words of the input come 8 bytes at a time.
    loads = re.findall(r"ld\.global\S*?(\.v2)?\.[ub]32", code.ptx)
    assert (".v2" in loads) == (form != "xor"), loads
    _, said = nvcc.to_cubin(code.ptx, target.gpu.sm)
    assert "0 bytes stack frame, 0 bytes spill stores" in said


STAGED = {
    "and": [
        {"channels": 256, "size": 4, "outputs": 100, "batch": 2},
        # Copies of 8 and of 4 bytes, some of nothing.
        {"channels": 64, "size": 5, "outputs": 40, "kernel": 5, "pad": 2},
        {"channels": 160, "size": 4, "outputs": 48, "pad_value": -1},
        {"channels": 64, "size": 4, "outputs": 48, "groups": 4, "kernel": 5, "pad": 2},
    ],
    "int8": [{"channels": 96, "size": 4, "outputs": 40}],
}


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
@pytest.mark.parametrize("form", STAGED)
def test_operands_through_shared_memory(form, tmp_path):
    cases = []
    for i, shape in enumerate(STAGED[form]):
        one = kernel.task(**shape)
        points = [p for p in Mma().points(one, gpu(form)) if p.stages]
        assert {p.stages for p in points} == {2, 3, 4}
        cases.append((one, points[i], *kernel.inputs(one)))
    for case, found in zip(cases, emulated.run_all(cases, tmp_path), strict=True):
        for a, b in zip(found, kernel.expected(case[0], *case[2:]), strict=True):
            assert np.array_equal(a, b), (str(case[0]), case[1])


def test_long_sums_of_many_blocks_share_what_they_load():
    product = {"size": 1, "kernel": 1, "pad": 0}
    long, short = (
        Mma().rule(kernel.task(n, outputs=n, batch=4096, **product), gpu("and"))
        for n in (4096, 512)
    )
    assert long.stages and not short.stages
    assert min(long.pixels, long.channels) >= 128
    # sm_75 has no asynchronous copies.
    assert not any(p.stages for p in Mma().points(kernel.task(512, 8, 512), gpu("xor")))


def test_machine_code_of_stages():
    try:
        nvcc.tools()
    except BuildError:
        pytest.skip("needs nvcc")
    one = kernel.task(256, 14, 256, batch=64)
    target = targets.load("cuda-sm90")
    point = MmaPoint("and", 4, 8, 2, 2, stages=3)
    code = codegen.build({"kernel": families.function(one, point)}, target)
    # The sums of 128 pixels and 2 x 72 channels take the place of three steps' operands.
    assert code.launches["kernel"].shared == 4 * 128 * 2 * 72
    assert "cp.async.cg.shared.global" in code.ptx and "cp.async.wait_group 2" in code.ptx
    assert not re.search(r"ld\.global\S*\.v2", code.ptx)
    _, said = nvcc.to_cubin(code.ptx, target.gpu.sm)
    assert "0 bytes stack frame, 0 bytes spill stores" in said
