from dataclasses import replace

import numpy as np
import pytest

from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.cpu import plain
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.latency import features
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.model import LatencyModel
from bnn_compiler.ops.epilogue import Output
from bnn_compiler.ops.general import Program
from bnn_compiler.plan.tasks import dense
from tests.latency import machine

HARDWARE = machine.TARGET.hardware


def matrix(*kernels):
    tasks = [k.task for k in kernels]
    choices = [None if isinstance(t, PlainTask) else machine.SCHEDULES.pick(t) for t in tasks]
    return features.matrix(kernels, choices, HARDWARE)


def test_every_plain_kernel_of_the_compiler_is_known():
    assert {*features.PLAIN, *features.ALIKE} == {*plain.STAGES, *plain.WORDS, "general", "matmul"}
    assert set(features.ALIKE.values()) <= set(features.PLAIN)


def test_an_unknown_kernel_is_an_error_that_names_it():
    x = Layout((1, 4, 4, 16), "float32")
    odd = Kernel("layer7", "fft", PlainTask("fft", (x,)), (x,), (x,))
    with pytest.raises(ScheduleError, match=r"layer7.*'fft'"):
        matrix(odd)


def test_rows_have_a_value_for_each_name_and_time_grows_with_work():
    small, large = machine.conv(64, 14, 64), machine.conv(64, 28, 64)
    x, terms, kinds = matrix(small, large, machine.to_nhwc(32))
    assert x.shape == (3, len(features.NAMES)) and terms.shape == (3, len(features.TERMS))
    assert len(set(features.NAMES)) == len(features.NAMES)
    assert kinds[0] == kinds[1] != kinds[2]
    assert np.isnan(x[2]).any() and not np.isnan(x[:2]).any()
    work = features.TERMS.index("reduction")
    assert 3 * terms[0, work] < terms[1, work] < 5 * terms[0, work]


def test_halos_and_epilogues_are_seen():
    one = machine.conv(64, 14, 64)
    bare = replace(one, writes=tuple(replace(t, halo=(0, 0, 0, 0)) for t in one.writes))
    x, terms, _ = matrix(one, bare)
    halo, written = features.NAMES.index("halo_bytes"), features.TERMS.index("written")
    # The halo of 16x16 around 14x14 pixels of two words.
    assert x[0, halo] == np.float32(np.log2((16 * 16 - 14 * 14) * 2 * 4)) > x[1, halo]
    assert terms[0, written] > terms[1, written]
    assert x[0, features.NAMES.index("epilogue_add")] == 1


def test_bytes_are_no_floats():
    """Of the same pixels: a quarter of what float32 takes, and two vectors."""
    one = machine.conv(64, 14, 64)
    (out,) = [t for t in one.writes if t.dtype == "float32"]
    layouts = {"float32": out, "uint8": replace(out, dtype="uint8")}

    def stored(epilogue, dtype):
        epilogue = replace(one.task.epilogue, outputs=(epilogue,))
        return replace(one, task=replace(one.task, epilogue=epilogue), writes=(layouts[dtype],))

    x, terms, _ = matrix(stored(Output(), "float32"), stored(Output("", -1, 0, 1), "uint8"))
    assert x[:, features.NAMES.index("stores_float")].tolist() == [1, 0]
    written, weights = map(features.TERMS.index, ("written", "weights"))
    assert terms[0, written] == 4 * terms[1, written]
    assert terms[1, weights] - terms[0, weights] == 2 * 4 * 64
    tensors = x[:, features.NAMES.index("schedule_tensor_bytes")]
    assert tensors[1] < tensors[0]


def general(lines, *shapes):
    task = PlainTask("general", tuple(map(dense, shapes)), parameters=(shapes, tuple(lines)))
    result = dense(Program.parse(lines).shape(shapes))
    return Kernel("k", "general", task, task.data, (result,))


def bits_product(size, channels):
    x = Layout((1, 1, size, channels), "uint32")
    task = PlainTask("matmul", (x, x), parameters=(1, 1))
    return Kernel("k", "matmul", task, (x, x), (Layout((1, 1, size, size), "float32"),))


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-a72"])
def test_general_kernels_take_what_they_compute(target):
    copied = general(["copy(a0)"], (64, 64))
    cut = general(["slice(a0;[0,0],[1,2],[64,32])"], (64, 64))
    turned = general(["permute(a0;[1,0])"], (64, 64))
    exp = general(["exp(a0)"], (64, 64))
    large = general(["matmul(a0,a1)"], (64, 512), (512, 64))
    softmax = general(["sub(a0,a1)", "exp(t0)", "div(t1,a2)"], (512, 64), (512, 1), (512, 1))
    bits = bits_product(64, 512)
    kernels = [copied, cut, turned, exp, large, softmax, bits]
    seconds = LatencyModel.load(target).kernel_seconds(kernels)
    copied, cut, turned, exp, large, softmax, bits = seconds
    assert cut < turned and copied < turned < exp < softmax < large
    assert copied < bits < large / 2
    # The same arithmetic again takes about twice the time, not the same.
    twice = LatencyModel.load(target).kernel_seconds(
        [general(["matmul(a0,a1)"], (128, 512), (512, 64))]
    )
    assert 1.6 * large < twice[0] < 2.4 * large


def test_general_kernels_say_what_they_are():
    lines = ["matmul(a0,a1)", "number(;0.5)", "mul(t0,t1)"]
    assert general(lines, (2, 3, 5), (5, 7)).what == "matmul mul @2x3x7"
    assert general(["reshape(a0;[10])"], (2, 5)).what == "reshape @10"
