"""The manifest with types says what its JSON says, and refuses what it cannot mean."""

import copy
import json

import pytest

import bnn_compiler
from bnn_compiler.runtime import seal
from bnn_compiler.runtime.manifest import ALIGN, FORMAT, Manifest


@pytest.fixture(scope="module")
def net(small_artifact):
    return bnn_compiler.load(small_artifact[0], run_here=False)


def test_nothing_is_lost_on_the_way_to_types_and_back(net):
    assert seal.dumps(net.description.as_json()) == seal.dumps(net.manifest)
    assert Manifest.of(net.manifest) == net.description
    assert Manifest.of({**net.manifest, "new": 1}) == net.description


def test_what_it_says(net):
    found = net.description
    assert (found.format, found.workspace_align) == (FORMAT, ALIGN)
    assert [t.bytes for t in (*found.inputs, *found.outputs)] == [3 * 32 * 32 * 4, 7 * 4]
    assert all(s.source in ("record", "model", "rule", "fixed") for s in found.steps)
    assert found.files.keys() == {"net.a", "net.h", "net.so", "example.c"}
    assert {b.kind for b in found.buffers} == {"arena", "input", "output"}


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (["format"], 2.0, "format"),
        (["format"], True, "format"),
        (["name"], 1, "name"),
        (["threads"], 1, "threads"),
        (["workspace_bytes"], -64, "workspace_bytes"),
        (["weights_offset"], 1.5, "weights_offset"),
        (["target"], None, "target"),
        (["target", "features"], "avx2", "target.features"),
        (["target", "features"], [1], r"target.features\[0\]"),
        (["contract", "zero_activation"], "-1", "zero_activation"),
        (["normalization"], {"mean": ["x"], "std": [1.0]}, r"normalization.mean\[0\]"),
        (["inputs", 0, "dtype"], "float64", "dtype of "),
        (["inputs", 0, "shape"], [[1]], r"inputs\[0\].shape\[0\]"),
        (["steps"], {}, "steps"),
        (["steps", 1, "macs"], "1", r"steps\[1\].macs"),
        (["steps", 1, "schedule"], {}, "schedule.source"),
        (["buffers", 0, "kind"], "heap", "kind of "),
        (["files", "net.so", "sha256"], 0, "files.net.so.sha256"),
    ],
)
def test_what_it_cannot_mean(net, keys, value, named):
    found = copy.deepcopy(net.manifest)
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(ValueError, match=f"no valid '{named}"):
        Manifest.of(found)


def test_every_key_is_needed(net):
    for key in json.loads(json.dumps(net.manifest)):
        with pytest.raises(ValueError, match=f"no valid '{key}'"):
            Manifest.of({k: v for k, v in net.manifest.items() if k != key})


@pytest.mark.parametrize(("mean", "read"), [([0.5, 1], (0.5, 1.0)), ([], ())])
def test_a_normalization(net, mean, read):
    found = Manifest.of({**net.manifest, "normalization": {"mean": mean, "std": [1.0]}})
    assert found.normalization.mean == read and found.normalization.std == (1.0,)
