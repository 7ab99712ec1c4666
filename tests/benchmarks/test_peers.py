"""The table of groups: every network is in the zoo and every group says what it imports."""

from benchmarks import peers
from bnn_compiler import zoo


def test_groups_and_their_packages() -> None:
    for group, factories in peers.GROUPS.items():
        assert peers.packages([group])
        assert set(factories) <= set(zoo.NETWORKS)


def test_groups_of_a_network() -> None:
    assert peers.of("reactnet_a", ["openvino", "float"]) == [peers.openvino_reactnet_a]
    assert peers.packages(["openvino", "float"]).count("openvino") == 1
