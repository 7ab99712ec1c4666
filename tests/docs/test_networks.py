import json
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NETWORKS = runpy.run_path(str(DOCS / "networks.py"))
LISTED = json.loads((DOCS / "networks.json").read_text())


def test_networks_md_has_the_table_as_it_is_now():
    page = (DOCS / "networks.md").read_text()
    assert NETWORKS["with_table"](page) == page


def test_no_network_is_listed_twice():
    names = [(n["repository"], n["network"]) for n in LISTED]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("network", LISTED, ids=lambda n: f"{n['repository']} {n['network']}")
def test_a_row_says_all_or_why(network):
    if network["result"] == "fails":
        assert network["reason"] and network["found"] is None
    else:
        assert (
            0 <= network["found"] <= network["expected"] and network["found"] <= network["kernels"]
        )
    assert (network["mismatches"] is not None) == (network["result"] == "verified")
