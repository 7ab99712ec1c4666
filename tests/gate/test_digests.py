"""Kernels, weights and memory of the networks are those of digests.json.

A change that is meant is recorded: `BNN_GATE_FULL=1 python -m tests.gate.record --update`.
"""

import functools
import json

import pytest
import torch
from torch import nn
from tvm.script import from_source

from bnn_compiler import target as targets
from bnn_compiler import zoo
from tests.gate import adapter, matrix, record
from tests.zoo.test_networks import RELATIVES


def cases():
    """One parameter a network; those without a selection are slow."""
    for case in matrix.CASES:
        left_out = pytest.mark.skipif(not matrix.FULL, reason="set BNN_GATE_FULL=1")
        marks = () if case.quick else (pytest.mark.slow, left_out)
        yield pytest.param(case, marks=marks, id=case.name)


@functools.cache
def recorded():
    return json.loads(record.FILE.read_text())


def differences(lowered, then):
    """What is not as recorded, in words."""
    now = record.entry(lowered)
    found = [
        f"{key} {then[key]} -> {now[key]}"
        for key in ("workspace", "weights")
        if then[key] != now[key]
    ]
    before, after = (entry["kernels"].split() for entry in (then, now))
    if len(before) != len(after):
        return [*found, f"{len(before)} steps -> {len(after)}"]
    names = [name for name, _ in lowered.kernels]
    steps = zip(names, before, after, strict=True)
    return [*found, *(f"step {n} {old} -> {new}" for n, old, new in steps if old != new)]


@pytest.mark.parametrize("case", list(cases()))
def test_as_recorded(case):
    then = recorded()[case.name]
    found = [
        f"{case.name} {variant} {target}: {line}"
        for variant, target, lowered in record.lowerings(case)
        for line in differences(lowered, then[variant][target])
    ]
    assert not found, "\n".join(found)


def test_the_file_is_the_whole_matrix():
    assert set(recorded()) == {case.name for case in matrix.CASES}
    for case in matrix.CASES:
        assert set(recorded()[case.name]) == set(case.variants)
        for entries in recorded()[case.name].values():
            assert set(entries) == set(targets.names("llvm"))


def test_the_selection_has_every_target_and_variant_and_one_of_all_relatives():
    quick = [case for case in matrix.CASES if case.quick]
    assert {case.network for case in quick} == set(zoo.NETWORKS) - RELATIVES
    selected = [item for case in quick for item in case.variants.items()]
    assert {target for _, names in selected for target in names} == set(targets.names("llvm"))
    assert {variant for variant, names in selected if names} == set(matrix.VARIANTS)


@pytest.fixture
def lowered():
    """A small network's way to one target, with one weight or attribute changed on request."""

    def lower(kernel=3, weight=0.5):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 16, kernel, padding=kernel // 2).eval()
        with torch.no_grad():
            model.weight[0, 0, 0, 0] = weight
        x = torch.zeros(1, 3, 8, 8)
        return adapter.traced(model, x)(adapter.Options())("aarch64")

    return lower


def test_a_change_is_told(lowered):
    then = record.entry(lowered())
    assert not differences(lowered(), then)
    (words,) = differences(lowered(weight=0.25), then)
    assert words.startswith("weights ")
    assert any(line.startswith("step conv") for line in differences(lowered(kernel=5), then))
    assert differences(lowered(), {**then, "kernels": ""}) == ["0 steps -> 3"]
    (words,) = differences(lowered(), {**then, "workspace": 1})
    assert words.startswith("workspace 1 -> ")


def test_names_do_not_count(lowered):
    _, kernel = lowered().kernels[1]
    text = kernel.script()

    def renamed(old, new):
        assert old in text
        return adapter.digest(from_source(text.replace(old, new)))

    assert adapter.digest(kernel.with_attr("global_symbol", "other")) == adapter.digest(kernel)
    same = renamed("net_", "net_")
    for name in ("net_", "acc", "ax0", "v_rx", "value"):
        assert renamed(name, f"other_{name}") == same
    for code in ("range(2)", "v_z + v_rx", "T.unroll(4)"):
        assert renamed(code, code.replace("2", "1").replace("+", "-").replace("4", "8")) != same
