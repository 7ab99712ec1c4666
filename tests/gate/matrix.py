"""What the gate lowers: networks with fixed weights, options, targets."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bnn_compiler import target as targets
from bnn_compiler import zoo
from tests.gate.adapter import Options

#: Set, every network is lowered for every target with all options; else a selection is.
FULL = bool(os.environ.get("BNN_GATE_FULL"))

VARIANTS = {
    "float32": Options(),
    "uint8": Options("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "reorder": Options(allow_reorder=True),
}


@dataclass(frozen=True)
class Case:
    """A network at one size; ``variants`` names the targets of the selection for each variant.

    A case whose variants have none is left out of the selection.
    """

    network: str
    size: int
    variants: dict[str, tuple[str, ...]]
    width: float = 1.0
    batch: int = 1

    @property
    def name(self) -> str:
        """Its key in the file."""
        width = f"-w{self.width}" if self.width != 1 else ""
        batch = f"-n{self.batch}" if self.batch != 1 else ""
        return f"{self.network}-{self.size}{width}{batch}"

    @property
    def quick(self) -> bool:
        """Whether the selection has it."""
        return any(self.variants.values())


def runs(case: Case) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(variant, targets to lower for), of what this run does."""
    for variant, selected in case.variants.items():
        chosen = tuple(targets.names("llvm")) if FULL else selected
        if chosen:
            yield variant, chosen


def _only(*names: str) -> dict[str, tuple[str, ...]]:
    """Float images."""
    return {"float32": names}


_V3, _V4, _VPOPCNT, _AMX = "x86-64-v3", "x86-64-v4", "x86-avx512-vpopcnt", "x86-amx"
_ONE_OF_A_KIND = (_V3, _V4, _VPOPCNT, "cortex-a72", "aarch64-android")
_UNSELECTED: dict[str, tuple[str, ...]] = dict.fromkeys(VARIANTS, ())

#: At 224 the shipped records are used, at 32 the cost model; a batch goes by its image's record.
#: The selection has every target, every family of kernels with every kind of hardware, and every
#: network but those that are another one's relatives.
CASES = (
    Case("birealnet18", 224, dict.fromkeys(VARIANTS, _ONE_OF_A_KIND)),
    Case("birealnet18", 224, _only(), batch=4),
    Case("birealnet18", 32, _UNSELECTED),
    Case("reactnet_a", 224, _UNSELECTED),
    Case("reactnet_a", 32, _UNSELECTED | _only(_V4, "cortex-a53")),
    Case("mobinet", 224, _only()),
    Case("mobinet", 32, _only(_V3, "neoverse-n1")),
    Case("mobinet", 32, _only(), width=0.25),
    Case("xnornet", 32, _only(_V4, "aarch64")),
    Case("xnornet", 32, _only(_VPOPCNT, _AMX, "cortex-a76"), width=0.25, batch=2),
    Case("bop_net", 32, _only(_V3, "aarch64-android")),
    Case("birealnet34", 32, _only()),
    Case("birealnet50", 32, _only()),
    Case("bireal_depth", 32, _only()),
    Case("react_birealnet18", 32, _only()),
    Case("reactnet_b", 32, _only()),
    Case("reactnet_c", 32, _only()),
)


def network(case: Case) -> tuple[nn.Module, torch.Tensor]:
    """The model and an input of its shape."""
    sized = {"size": case.size} if case.network == "bop_net" else {}
    model = zoo.get(case.network)(width=case.width, **sized)
    _fill(model, signed=case.network in ("xnornet", "bop_net"))
    return model.eval(), torch.zeros(case.batch, 3, case.size, case.size)


@torch.no_grad()
def _fill(model: nn.Module, *, signed: bool) -> None:
    """Odd multiples of 1/64 everywhere: their sums are exact in any order, so on any machine."""
    draw = np.random.default_rng(0)
    for module in model.modules():
        positive = isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU))
        values = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, tensor in values:
            if not tensor.is_floating_point():
                continue
            drawn = (2 * draw.integers(-32, 32, tuple(tensor.shape)) + 1) / 64
            if positive and name in ("weight", "running_var"):
                drawn = np.abs(drawn)
                if signed and name == "weight":
                    drawn[::3] *= -1
                    drawn[5::11] = 0
            tensor.copy_(torch.from_numpy(drawn))
