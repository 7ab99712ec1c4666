from dataclasses import replace

import numpy as np
import pytest

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.latency import features, gpu_features, vocabulary
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.ops.general import Program
from tests.latency import machine

GPU = targets.load("cuda-sm90")
SCHEDULES = Schedules(GPU)


def matrix(*kernels):
    """{name: values}, {term: values}, kinds in words."""
    tasks = [k.task for k in kernels]
    choices = [None if isinstance(t, PlainTask) else SCHEDULES.pick(t) for t in tasks]
    x, terms, kinds = vocabulary.matrix(kernels, choices, GPU)
    assert np.isfinite(x).all() and np.isfinite(terms).all() and (terms >= 0).all()
    names = dict(zip(gpu_features.NAMES, x.T.tolist(), strict=True))
    columns = dict(zip(gpu_features.TERMS, terms.T.tolist(), strict=True))
    return names, columns, [gpu_features.KINDS[i] for i in kinds]


def test_names_are_different_and_those_of_the_target():
    for words in (vocabulary.CPU, vocabulary.GPU):
        for names in (words.names, words.terms, words.kinds):
            assert len(set(names)) == len(names)
        assert "weights" in words.terms
    assert vocabulary.of(GPU) is vocabulary.GPU
    assert vocabulary.of(machine.TARGET) is vocabulary.CPU


def test_work_grows_with_images_and_a_launch_does_not():
    one = machine.conv(256, 14, 256)
    names, terms, kinds = matrix(one, one.of_batch(8), one.of_batch(64))
    assert kinds == ["mma"] * 3 and terms["launch"] == [1, 1, 1]
    for name in ("read", "tensors", "written"):
        assert terms[name][2] == 8 * terms[name][1] == 64 * terms[name][0]
    assert terms["weights"][0] == terms["weights"][2] > 256 * 9 * 256 / 8
    # One image leaves multiprocessors without work, or is split into parts.
    assert names["parts"][0] > names["parts"][2]
    assert terms["multiply"][0] < terms["multiply"][2] < 64 * terms["multiply"][0]
    assert terms["beyond"] == [0, 0, 0] and names["images"] == [1, 8, 64]


def test_bytes_beyond_l2():
    large = machine.conv(64, 112, 64).of_batch(64)
    _, terms, _ = matrix(large)
    whole = sum(terms[name][0] for name in ("read", "tensors", "written", "weights"))
    assert terms["beyond"][0] == whole - 1024 * GPU.gpu.l2_kib > 0


def test_plain_kernels_have_a_thread_for_each_element():
    x = Layout((2, 14, 14, 64), "float32")
    y = Layout((2, 1, 1, 64), "float32")
    mean = Kernel("mean", "global_mean", PlainTask("global_mean", (x,)), (x,), (y,))
    names, terms, kinds = matrix(machine.to_nhwc(32, batch=4), mean)
    assert kinds == ["to_nhwc", "global_mean"]
    # Three channels are stored as 16.
    assert names["computed"] == pytest.approx(np.log2([4 * 32 * 32 * 16, 2 * 64]))
    assert terms["chain"] == [2, 14 * 14 + 1]


def test_every_plain_kernel_is_known_and_others_are_errors():
    assert set(features.PLAIN) < set(gpu_features.KINDS)
    shape = (2, 8, 8, 16)
    x = Layout(shape, "float32", dense=True)
    lines = ("sqrt(a0)",)
    task = PlainTask("general", (x,), parameters=((shape,), lines))
    names, _, kinds = matrix(Kernel("norm", "general", task, (x,), (x,)))
    assert Program.parse(lines).steps and kinds == ["concat"] and names["steps"][0] >= 0
    odd = Kernel("layer7", "fft", replace(task, op="fft"), (x,), (x,))
    with pytest.raises(ScheduleError, match=r"layer7.*'fft'"):
        matrix(odd)
