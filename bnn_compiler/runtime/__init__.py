"""Load and run artifacts. Imports neither TVM nor torch: numpy and a libc are enough."""

from bnn_compiler.runtime.artifact import Artifact, LayerProfile, load
from bnn_compiler.runtime.session import Session

__all__ = ["Artifact", "LayerProfile", "Session", "load"]
