"""The time of a network as a function of its channels: plans, their kernels, what those cost."""

from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.space import PlanSpace

__all__ = ["Kernel", "PlanSpace"]
