from dataclasses import replace

import pytest

from bnn_compiler import target as targets
from bnn_compiler.deploy import backend
from bnn_compiler.deploy.cpu import backend as cpu
from bnn_compiler.errors import BuildError, TargetError
from bnn_compiler.target import Link


@pytest.mark.parametrize("name", targets.names("llvm"))
def test_every_shipped_target_has_one(name):
    assert backend.of(targets.load(name)) is cpu


@pytest.mark.parametrize("tvm", [{"kind": "opencl"}, {}])
def test_another_kind_of_machine_is_refused(tvm):
    target = replace(targets.load("x86-64-v3"), tvm=tvm)
    with pytest.raises(TargetError, match=r"x86-64-v3: \[target\] kind is .*known: 'llvm'"):
        backend.of(target)


def test_what_cannot_be_compiled_or_linked_is_refused_at_once():
    target = targets.load("cortex-a72")
    with pytest.raises(TargetError, match="z80"):
        cpu.check(replace(target, tvm={**target.tvm, "mcpu": "z80"}))
    with pytest.raises(BuildError, match=r"no cross compiler 'absent-cc'"):
        cpu.check(replace(target, link=Link(compiler=("absent-cc",))))
