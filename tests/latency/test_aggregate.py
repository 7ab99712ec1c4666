import numpy as np

from bnn_compiler.latency import aggregate
from tests.latency import machine


def test_facts_are_of_the_geometric_mean_of_the_members():
    sums = np.array([[1e-3, 4e-3], [1e-3, 1e-3]])
    facts, unsure = aggregate.facts(sums, np.array([3.0, 2.0]), np.full(2, 8.0), np.zeros(2))
    np.testing.assert_allclose(facts, [[2e-3, 3, 8, 0], [1e-3, 2, 8, 0]])
    assert unsure[0] > 0.5 and unsure[1] == 0


def test_shares_are_of_each_networks_own_time():
    counts = np.array([2, 1])
    assert aggregate.starts(counts).tolist() == [0, 2]
    seconds, kinds = np.array([[3.0], [1.0], [5.0]]), np.array([0, 2, 2])
    found = aggregate.shares(np.repeat([0, 1], counts), seconds, kinds, 3)
    np.testing.assert_array_equal(found, [[0.75, 0, 0.25], [0, 0, 1]])


def test_weights_that_l2_holds_are_not_cold():
    l2 = 1024.0 * machine.TARGET.hardware.l2_kib
    assert aggregate.cold(np.array([l2 - 1, l2 + 5]), machine.TARGET).tolist() == [0, 5]
