"""docs/cuda.md speaks of targets and options that there are."""

import re
from pathlib import Path

from bnn_compiler import target
from bnn_compiler.runtime import Artifact

PAGE = (Path(__file__).parents[3] / "docs" / "cuda.md").read_text()


def test_the_page_names_every_gpu_and_no_other():
    named = {f"cuda-{name}" for name in re.findall(r"`(?:cuda-)?(sm\d+)`", PAGE)}
    assert named == set(target.names("cuda"))


def test_the_methods_of_the_page_are_there():
    assert {name for name in re.findall(r"net\.(\w+)\(", PAGE)} <= set(dir(Artifact))
