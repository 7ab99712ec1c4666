import runpy
from pathlib import Path

SUPPORT = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "support.py"))


def test_the_readme_lists_the_operators_that_there_are():
    text = SUPPORT["README"].read_text()
    assert text == SUPPORT["with_table"](text), "run `make support`"


def test_an_old_list_is_replaced_and_the_rest_kept():
    old = f"before\n{SUPPORT['BEGIN']}| of yesterday |\n{SUPPORT['END']}after\n"
    new = SUPPORT["with_table"](old)
    assert new.startswith("before\n") and new.endswith("after\n") and "yesterday" not in new
    assert "`conv2d`" in new and new.count(SUPPORT["BEGIN"]) == 1
