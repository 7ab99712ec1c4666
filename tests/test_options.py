from dataclasses import replace

import pytest

from bnn_compiler.errors import InputError
from bnn_compiler.options import Options
from bnn_compiler.passes.byte_input import Normalization
from bnn_compiler.passes.quantize_rest import Range


def test_options_are_checked_once_and_list_the_known():
    with pytest.raises(InputError, match="'2'; known: 'exact', 'error'"):
        Options.of(zero_weight="2")
    with pytest.raises(InputError, match="'float16'; known: 'float32', 'uint8'"):
        Options.of(input_dtype="float16")
    with pytest.raises(InputError, match="for input_dtype 'uint8'"):
        Options.of(mean=(0.5,))


def test_a_manifest_gives_them_back():
    assert Options.of() == Options()
    options = Options.of("+1", "uint8", (0.5,), (0.25,), True)
    assert options.normalization == Normalization((0.5,), (0.25,))
    manifest = {
        "contract": {"zero_weight": "+1", "reorder": True},
        "normalization": {"mean": [0.5], "std": [0.25]},
        "target": {"kind": "llvm"},
    }
    assert Options.of_manifest(manifest) == options and not options.half
    there = Options.of_manifest({**manifest, "target": {"kind": "cuda"}})
    assert there == options.on("cuda") == replace(options, half=True)
    ranges = {"int8": [{"layer": "fc", "low": -1.5, "high": 0.1}]}
    with_ranges = replace(options, int8=(Range("fc", -1.5, 0.1),))
    assert Options.of_manifest({**manifest, **ranges}) == with_ranges
