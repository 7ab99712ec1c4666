"""Float convolutions of halves, emulated, and what nvcc makes of them."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.kernels.cpu.codegen import with_strides
from bnn_compiler.kernels.cuda import codegen, nvcc
from bnn_compiler.kernels.cuda.half import Half
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, HalfWorkload
from bnn_compiler.ops import half, reference
from bnn_compiler.ops.window import Window
from tests.kernels import kernel
from tests.kernels.cuda import drawn, emulated
from tests.kernels.cuda.test_machine_code import has_nvcc, instructions

FORMS = {"half": "cuda-sm90", "half8": "cuda-sm75"}
POOL = Window((3, 3), (2, 2), (1, 1, 1, 1))


def gpu(form="half"):
    return targets.load(FORMS[form]).gpu


def task(channels, size, outputs, kernel_, stride=1, pad=0, batch=1, image=False, pool=None):
    one = kernel.task(channels, size, outputs, kernel_, stride, pad, dtype="float32", batch=batch)
    return of(one.work, image, pool, kernel.EPILOGUE)


def of(work, image, pool, epilogue):
    """A task of an image of the caller's, or of one with a halo, and perhaps a pool."""
    if image:
        work = replace(work, x=Layout(work.x.shape, "float32", dense=True))
    made = HalfWorkload.of(work, image, pool)
    if pool:
        made = replace(made, shape=(made.shape[0], *pool.size(*made.convolved), made.shape[3]))
    tensors = (None, None, Layout(made.shape, "float32"), None)
    return Task(made, epilogue, tensors if epilogue is kernel.EPILOGUE else (None,))


STEM = task(3, 18, 40, 7, 2, 3, batch=2, image=True, pool=POOL)
SHAPES = (
    STEM,
    task(3, 11, 32, 3, 2, 1, image=True),
    task(64, 7, 64, 1, batch=2),
    task(20, 6, 40, 3, 1, 1),
    task(100, 1, 72, 1, batch=3),
)


def inputs(one, seed=0, whole=False):
    """Image, weights and operands; with ``whole`` small integers, which any order adds exactly."""
    rng, work = np.random.default_rng(seed), one.work
    outputs = work.shape[3]

    def numbers(*shape):
        found = rng.integers(-8, 9, shape) if whole else rng.normal(size=shape)
        return found.astype(np.float32)

    weights = [numbers(outputs, *work.kernel, work.x.shape[3])]
    weights += [numbers(outputs), numbers(outputs)] if work.pool else []
    operands = [numbers(outputs) if t is None else numbers(*t.shape) for t in one.tensors]
    return numbers(*work.x.shape), weights, operands


def value(one, x, weights):
    """What is in front of the epilogue."""
    work = one.work
    if work.pool:
        return half.pooled_conv2d(x, *weights, work.window, work.pooled)
    return half.conv2d(x, weights[0], work.window)


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
@pytest.mark.parametrize("form", FORMS)
def test_as_near_as_the_order_of_sums_is(form, tmp_path):
    family = Half()
    cases = []
    # The older instruction differs in its fragments only.
    for one in SHAPES if form == "half" else SHAPES[1:3]:
        points = list(family.points(one, gpu(form)))
        rule = family.rule(one, gpu(form))
        assert rule in points and {p.form for p in points} == {form}
        # Others are drawn below.
        cases.append((one, rule, *inputs(one)))
    assert any(p.splits > 1 for _, p, *_ in cases)
    for case, found in zip(cases, emulated.run_all(cases, tmp_path), strict=True):
        one, point, x, weights, operands = case
        plain = value(one, x, weights)
        floats, signs = one.epilogue.apply(plain, operands)
        away = half.ORDER * np.abs(plain).max() * np.abs(operands[0]).max()
        assert np.abs(found[0] - floats).max() <= away, (str(one), point)
        sure = np.abs(floats - operands[3]) > away
        assert np.array_equal(found[1][sure], signs[sure]) and sure.mean() > 0.9


def in_halves(epilogue, tensors):
    """The same with halves for all floats that are stored."""
    outputs = tuple(o if o.is_bits else replace(o, half=True) for o in epilogue.outputs)
    narrow = tuple(t if t is None else replace(t, dtype="float16") for t in tensors)
    return replace(epilogue, outputs=outputs), narrow


@st.composite
def cases(draw):
    """Of any shape, with any epilogue, of images and of other values, pooled or not."""
    work = draw(drawn.works("float32").filter(lambda w: w.groups == 1 and w.macs < 2e6))
    image = work.x.shape[3] <= 6
    pool = None
    if image and draw(st.booleans()):
        kernel_, strides = (draw(st.tuples(*[st.integers(1, 3)] * 2)) for _ in range(2))
        pads = [draw(st.integers(0, k // 2)) for k in kernel_ for _ in range(2)]
        pool = Window(kernel_, strides, (pads[0], pads[2], pads[1], pads[3]))
        rows, columns = HalfWorkload.of(work).convolved
        if min(pool.size(rows, columns)) < 1:
            pool = None
    one = of(work, image, pool, kernel.EPILOGUE)
    epilogue, tensors = draw(drawn.epilogues(one.work.shape))
    if draw(st.booleans()):
        epilogue, tensors = in_halves(epilogue, tensors)
        if not image:
            one = replace(one, work=replace(one.work, x=replace(one.work.x, dtype="float16")))
    one = replace(one, epilogue=epilogue, tensors=tensors)
    family, hardware = Half(), gpu(draw(st.sampled_from(sorted(FORMS))))
    point = draw(st.sampled_from([family.rule(one, hardware), *family.points(one, hardware)]))
    return one, point, draw(st.integers(0, 9))


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
@settings(max_examples=1, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(cases(), min_size=10, max_size=10))
def test_small_integers_are_exact(tmp_path_factory, found):
    given = [(one, point, *inputs(one, seed, whole=True)) for one, point, seed in found]
    results = emulated.run_all(given, tmp_path_factory.mktemp("half"))
    for (one, point, x, weights, operands), result in zip(given, results, strict=True):
        work = one.work
        plain = reference.float_conv2d(x, weights[0], work.window)
        if work.pool:
            plain = reference.max_pool2d(reference.fma(plain, *weights[1:]), work.pooled)
        for a, b in zip(result, one.epilogue.apply(plain, operands), strict=True):
            assert np.array_equal(a, b, equal_nan=True), (one.as_dict(), point)


def test_pairs_of_the_callers_numbers_are_not_loaded_together():
    one = SHAPES[4]
    function = families.function(one, Half().rule(one, gpu()))
    for unaligned, together in (((), True), ((0,), False)):
        named = with_strides(function, {}, "k", unaligned)
        text, launches = codegen.kernels({"k": named}, targets.load("cuda-sm90").tvm)
        assert ("bnn_half2_at(" in text) == together
        assert sorted(launches["k"].order) == list(range(len(function.params)))


def test_other_kernels_store_halves_too(tmp_path):
    cases = []
    for shape in ({"channels": 64, "outputs": 40}, {"channels": 16, "outputs": 4}):
        one = kernel.task(size=4, **shape)
        epilogue, tensors = in_halves(one.epilogue, one.tensors)
        for outputs in (epilogue.outputs, epilogue.outputs[:1]):
            some = replace(one, epilogue=replace(epilogue, outputs=outputs), tensors=tensors)
            x, weights, operands = kernel.inputs(some)
            operands[2] = operands[2].astype(np.float16).astype(np.float32)
            cases.append((some, families.rule(some, gpu()), x, weights, operands))
    assert {p.family for _, p, *_ in cases} == {"mma", "popc"}
    for case, found in zip(cases, emulated.run_all(cases, tmp_path), strict=True):
        for a, b in zip(found, kernel.expected(case[0], *case[2:]), strict=True):
            assert np.array_equal(a, b), case[1]


def test_a_task_survives_json():
    for one in SHAPES:
        again = Task.from_dict(one.as_dict())
        assert again == one and type(again.work) is HalfWorkload
        for point in families.space(one, gpu()):
            assert families.point_of(point.as_dict()) == point
    assert not isinstance(Task.from_dict(kernel.task(8, 4, 8).as_dict()).work, HalfWorkload)
    assert isinstance(SHAPES[0].work, ConvWorkload) and str(SHAPES[0]).startswith("half 7x7/2")


def test_products_of_a_pooled_convolution_are_the_convolutions():
    assert STEM.work.macs == 2 * 9 * 9 * 40 * 7 * 7 * 3


@pytest.mark.parametrize("form", FORMS)
def test_machine_code(form, tmp_path):
    if not has_nvcc():
        pytest.skip("needs nvcc")
    target = targets.load(FORMS[form])
    functions, tiles = {}, {}
    for i, one in enumerate(SHAPES[:3]):
        point = Half().rule(one, target.gpu)
        functions[f"k{i}"] = families.function(one, point)
        tiles[f"k{i}"] = Half().counts(one, point, target.gpu).multiply
    code = codegen.build(functions, target)
    wanted = {
        "half": "m16n8k16.row.col.f32.f16.f16.f32",
        "half8": "m16n8k8.row.col.f32.f16.f16.f32",
    }
    used = [line for line in code.ptx.splitlines() if "mma.sync" in line]
    assert used and all(wanted[form] in line for line in used)
    # Of channels neighbouring numbers come 8 bytes at a time.
    direct = re.search(r"\.entry k2_kernel\(.*?^}", code.ptx, re.DOTALL | re.MULTILINE)[0]
    loads = re.findall(r"ld\.global\S*", direct)
    assert any(".v2.f32" in load or ".v2.b32" in load for load in loads), loads
    _, said = nvcc.to_cubin(code.ptx, target.gpu.sm)
    assert said.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == 3
    done = instructions(code.images[f"sm_{target.gpu.sm}"], tmp_path / "kernels.cubin")
    for symbol, operations in (done or {}).items():
        products = [o for o in operations if o.startswith("HMMA")]
        assert len(products) % tiles[symbol.removesuffix("_kernel")] == 0 and products
        assert all(o.endswith("F32") for o in products), products[0]
        assert not [o for o in operations if re.match(r"(LDL|STL)\b", o)], symbol


def test_no_other_family_takes_them():
    image = task(3, 14, 32, 3, image=True)
    for one in (image, task(64, 8, 32, 1)):
        assert [f.name for f in families.fitting(one, gpu())] == ["half"]


@pytest.mark.parametrize("form", FORMS)
def test_taps_that_lie_far_apart_are_read_from_memory(form):
    one = kernel.task(15, 32, 16, pad=12, dilation=12, dtype="float32")
    assert Half().rule(of(one.work, False, None, kernel.EPILOGUE), gpu(form)).height == 0
