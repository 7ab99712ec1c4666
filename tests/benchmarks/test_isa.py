"""Instruction sets that both sides can be held to."""

import os

import pytest

from benchmarks import isa
from bnn_compiler import target as targets


@pytest.mark.parametrize("name", isa.KNOWN)
def test_hold_sets_the_variable_and_names_a_target(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert targets.load(isa.hold(name)).name == isa.KNOWN[name].target
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == isa.KNOWN[name].onednn


def test_peaks_of_newer_instructions_do_not_count() -> None:
    rates = {"popcount_avx2": 1.0, "popcount_avx512_vpopcntdq": 4.0, "fma_avx2": 2.0, "read_L1": 9}
    found = isa.usable(rates, frozenset({"avx2", "fma"}))
    assert found == {"popcount_avx2": 1.0, "fma_avx2": 2.0, "read_L1": 9}
