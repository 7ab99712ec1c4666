from pathlib import Path

from tests import order

ROOT = Path(__file__).parents[1]


def test_the_lists_name_what_there_is():
    for name in (*order.SPLIT, *order.LONGEST):
        assert (ROOT / name.split("::")[0]).exists(), name


def test_long_tests_come_first_and_files_stay_together():
    first = "tests/zoo/test_networks.py::test_full_size[mobinet]"
    assert order.rank(first) == 0 < order.rank("tests/zoo/test_networks.py::test_small[mobinet]")
    assert order.rank("tests/device/test_docs.py::test_a") < order.rank("tests/device/test_kit.py")
    assert order.rank("tests/nn/test_sign.py::test_a") == len(order.LONGEST)
    assert order.unit(first) is None
    assert order.unit("tests/nn/test_sign.py::test_a") == "tests/nn/test_sign.py"
