"""What `compile` says of kernels that nobody measured here."""

from types import SimpleNamespace

import pytest

from bnn_compiler.commands.tune import advice
from bnn_compiler.cost import cpus


def step(kernel, source, cpu=""):
    return SimpleNamespace(kernel=kernel, source=source, measured_on=cpu)


def net(*steps, rest=None, int8=()):
    target = SimpleNamespace(name="x86-64-v3")
    return SimpleNamespace(steps=steps, target=target, rest=rest, int8=int8)


@pytest.fixture(autouse=True)
def other_cpu(monkeypatch):
    monkeypatch.setattr(cpus, "of", lambda target: "znver9")


def test_nothing_measured_here_is_said_with_what_tuning_would_take():
    steps = [step(f"k{i}", "record", "znver4") for i in range(8)]
    steps += [step("k0", "record", "znver4"), step("m", "model"), step("pool", "fixed")]
    said = advice(net(*steps))
    assert said.startswith("nothing was measured on this CPU (znver9): `bnnc tune` takes about ")
    few, many = (int(advice(net(*steps[:n])).split()[-2]) for n in (1, 8))
    assert 0 < few < many <= int(said.split()[-2])
    assert "`bnnc tune --rest int8`" in advice(net(*steps, int8=("stem",)))
    assert "`bnnc tune --rest auto`" in advice(net(*steps, rest=object(), int8=("stem",)))


def test_a_record_of_this_cpu_or_nothing_to_tune_says_nothing(monkeypatch):
    here = [step("a", "record", "znver4"), step("b", "record", "znver9")]
    assert advice(net(*here)) == ""
    assert advice(net(step("pool", "fixed"))) == ""
    monkeypatch.setattr(cpus, "of", lambda target: "")
    assert advice(net(step("a", "rule"))) == "", "not for another machine"
