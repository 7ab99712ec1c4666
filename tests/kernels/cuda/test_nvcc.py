"""What is asked of ptxas again."""

import pytest

from bnn_compiler.kernels.cuda import nvcc
from tests.kernels.cuda.test_machine_code import has_nvcc

_PTX = """\
.version 8.0
.target sm_80
.address_size 64
.visible .entry one(
        .param .u64 one_param_0
)
.maxntid 256, 1, 1
{
        ret;
}
.visible .entry other(
        .param .u64 other_param_0
)
.maxntid 64, 1, 1
{
        ret;
}
"""
_SAID = """\
ptxas info    : Function properties for one
    8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Function properties for other
    8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""


def test_a_kernel_that_spills_may_have_all_registers():
    ptx, spilled = nvcc.with_registers(_PTX, _SAID)
    assert spilled == ["one"]
    assert ptx == _PTX.replace("256, 1, 1\n", "256, 1, 1\n.minnctapersm 1\n")
    assert nvcc.with_registers(_PTX, _SAID.replace("8 bytes spill", "0 bytes spill")) == (_PTX, [])


@pytest.mark.skipif(not has_nvcc(), reason="needs nvcc: pip install nvidia-cuda-nvcc")
def test_ptxas_takes_and_says_that():
    ptx, _ = nvcc.with_registers(_PTX, _SAID)
    image, said = nvcc.to_cubin(ptx, 80)
    assert image[:4] == b"\x7fELF"
    assert said.count("Function properties for ") == 2
    assert nvcc.with_registers(ptx, said) == (ptx, [])
