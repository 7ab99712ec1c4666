import numpy as np
import pytest

from bnn_compiler.latency import baselines
from tests.latency import machine

NETWORKS = [s.kernels for s in machine.samples(30)]


@pytest.mark.parametrize("name", baselines.LINEAR)
def test_each_finds_what_it_can_say(name):
    counts = baselines.LINEAR[name]
    x = np.array([counts(k) for k in NETWORKS])
    truth = x @ np.linspace(1, 2, x.shape[1]) * 1e-9
    found = baselines.linear(counts, NETWORKS[:20], truth[:20])(NETWORKS[20:])
    np.testing.assert_allclose(found, truth[20:], rtol=1e-6)


def test_the_staircase_rounds_channels_up():
    first, same, next_step = (
        baselines.staircase([machine.conv(c, 14, o)])[0] for c, o in ((33, 17), (64, 32), (65, 32))
    )
    assert first == same < next_step
    assert baselines.macs([machine.conv(33, 14, 17)])[0] == 33 * 17 * 9 * 14 * 14
    assert baselines.bops([machine.conv(32, 14, 16)])[0] == 32 * 16 * 9 * 14 * 14 / 64


def test_the_table_takes_the_nearest_layer_of_its_kind():
    known = [(machine.conv(64, 14, 64), machine.conv(128, 14, 128), machine.conv(64, 7, 64))]
    table = baselines.table(known, [(1.0, 2.0, 4.0)])
    asked = [(machine.conv(70, 14, 64),), (machine.conv(120, 14, 100), machine.conv(9, 7, 9))]
    np.testing.assert_array_equal(table(asked), [1.0, 6.0])
    # What it knows no layer of takes what a layer takes.
    np.testing.assert_allclose(table([(machine.to_nhwc(32),)]), [7 / 3])
