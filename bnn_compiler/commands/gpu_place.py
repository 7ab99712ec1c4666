"""Networks of a search timed on this machine's GPU, as a calibration times programs there."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device import gpu
from bnn_compiler.errors import DeviceError, TargetError
from bnn_compiler.latency.places import There
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("bnn_compiler")


class GpuPlace:
    """``name`` is the GPU's."""

    def __init__(self, there: There) -> None:
        self._there = there
        self.name = there.cpu

    def seconds(self, networks: "Sequence[nn.Module]", inputs: Sequence[Any]) -> list[float]:
        """Of a run of each, on the GPU alone, in turns with each other and a reference program.

        Raises what compiling raises, and DeviceError if they cannot be timed.
        """
        built = []
        for network in networks:
            graph = Network.of(network.eval(), inputs).fused(Options().on("cuda"))
            built.append(self._there.build(plan.plan(graph)))
        self._there.begin()
        found = self._there.in_turns(built)
        if len(found) != len(networks):
            raise DeviceError(f"{self.name} did not time the networks of a search")
        return [float(np.median(times.whole)) for times in found]


def here(target: str | Path) -> GpuPlace | None:
    """That of this machine; None if it has no GPU, or one that does not run ``target``.

    Raises BuildError without nvcc.
    """
    wanted = targets.load(target)
    try:
        return GpuPlace(There(gpu.here(wanted), Schedules.load(wanted)))
    except TargetError:
        return None
    except DeviceError as e:
        log.warning("the GPU of this machine times nothing: %s", e)
        return None
