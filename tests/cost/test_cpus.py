from bnn_compiler import target as targets
from bnn_compiler.cost import cpus


def test_a_core_of_a_board_is_the_targets():
    a72 = targets.load("cortex-a72")
    assert cpus.of(a72) == cpus.board(a72) == "cortex-a72"


def test_code_that_runs_here_is_for_this_cpu():
    assert cpus.of(targets.native()) == cpus.here() != ""
    assert cpus.board(targets.load("x86-64-v3")) == ""


def test_of_other_machines_nothing_is_known(monkeypatch):
    monkeypatch.setattr(cpus.cpu, "features", lambda: frozenset())
    assert cpus.of(targets.load("x86-64-v4")) == ""
    assert cpus.of(targets.load("cuda-sm90")) == ""


def test_designs_of_one_core_have_one_name(monkeypatch):
    monkeypatch.setattr(cpus.codegen, "llvm_get_system_cpu", lambda: "emeraldrapids")
    cpus.here.cache_clear()
    assert cpus.here() == "sapphirerapids"
    cpus.here.cache_clear()
