from dataclasses import replace

import numpy as np
import pytest

from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.cpu import plain
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.latency import features
from bnn_compiler.latency.kernel import Kernel
from tests.latency import machine

HARDWARE = machine.TARGET.hardware


def matrix(*kernels):
    tasks = [k.task for k in kernels]
    choices = [None if isinstance(t, PlainTask) else machine.SCHEDULES.pick(t) for t in tasks]
    return features.matrix(kernels, choices, HARDWARE)


def test_every_plain_kernel_of_the_compiler_is_known():
    assert {*features.PLAIN, *features.ALIKE} == {*plain.STAGES, *plain.WORDS, "general"}
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
