"""The numbers that docs/contract.md shows are computed."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "contract"})
    assert (tmp_path / "relu.bnn").exists()
