"""Hold both sides to an older instruction set than the CPU's.

Ours is compiled for a target; OpenVINO reads ONEDNN_MAX_CPU_ISA. What the plugin (2026.4) makes of
it on a CPU with AVX-512 VPOPCNTDQ, seen in the code it generates:

- avx512 is effective: BinaryConvolution counts by table look-up (vpshufb) in zmm registers.
- AVX2 is not, and so not offered: the float layers obey, but BinaryConvolution keeps to AVX-512
  (without VPOPCNTDQ) and its layout of 16 channels, which a ReduceMean behind it, held to AVX2,
  then misreads. For an AVX2 build of ours against a peer with more than that, which is correct:
  `--isa avx512 --target x86-64-v3`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE = "ONEDNN_MAX_CPU_ISA"


@dataclass(frozen=True)
class InstructionSet:
    """The name oneDNN knows it by, and our target."""

    onednn: str
    target: str


KNOWN = {
    "avx512": InstructionSet("AVX512_CORE", "x86-64-v4"),
}


def hold(name: str) -> str:
    """Hold OpenVINO to an instruction set of KNOWN; returns our target for it.

    Call it before anything imports OpenVINO.
    """
    chosen = KNOWN[name]
    os.environ[_VARIABLE] = chosen.onednn
    return chosen.target


def usable(rates: Mapping[str, float], features: frozenset[str]) -> dict[str, float]:
    """The measured peaks that code for a CPU with `features` can reach; all memory rates."""
    kinds = ("popcount_", "fma_", "int8_")
    return {
        name: rate
        for name, rate in rates.items()
        if not name.startswith(kinds) or name.partition("-")[0].split("_", 1)[1] in features
    }
