import numpy as np

from bnn_compiler.latency import caches
from bnn_compiler.latency.caches import Caches
from tests.latency import machine


def test_networks_are_told_apart_by_what_l2_holds():
    l2 = 1024 * machine.TARGET.hardware.l2_kib
    found = caches.levels(np.array([0.0, 0.6, 3.0, 1000.0]) * l2, machine.TARGET)
    assert found.tolist() == [0, 1, 3, caches.LEVELS - 1]


def test_what_is_missed_moves_the_sizes_that_miss_it():
    share, level = np.array([1.0, 1.0, 0.0]), np.array([2, 2, 3])
    found = Caches().improved(np.array([0.2, 0.2, 9.0]), np.ones(3), share, level)
    np.testing.assert_allclose(found.longer[2], 0.4 / 2.5)
    # Level 3 was seen too, and has nothing of weights; others move with the nearest of the two.
    assert found.longer == (found.longer[2],) * 3 + (0.0,) * (caches.LEVELS - 3)
    np.testing.assert_allclose(found.logs(share, level), [0.16, 0.16, 0.0])
