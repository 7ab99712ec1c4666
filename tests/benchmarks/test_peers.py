"""The table of groups: every network can be made and every group says what it imports."""

from benchmarks import peers


def test_groups_and_their_packages() -> None:
    for group, factories in peers.GROUPS.items():
        assert group == "larq" or peers.packages([group])
        assert set(factories) <= set(peers.NETWORKS)


def test_groups_of_a_network() -> None:
    assert peers.of("reactnet_a", ["openvino", "float"]) == [peers.openvino_reactnet_a]
    assert peers.packages(["openvino", "float"]).count("openvino") == 1
