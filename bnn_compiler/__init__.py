"""A hardware-aware compiler for binary neural networks.

artifact = bnn_compiler.compile(model, (x,), target="native", output="net.bnn")
y = artifact.run(x)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnn_compiler.version import __version__

if TYPE_CHECKING:
    from bnn_compiler.compiler import compile
    from bnn_compiler.deploy.cpu.emulate import emulate
    from bnn_compiler.runtime import Artifact, load
    from bnn_compiler.verification import verify

#: Public name -> module; each is imported when first used.
_PUBLIC = {
    "compile": "bnn_compiler.compiler",
    "emulate": "bnn_compiler.deploy.cpu.emulate",
    "load": "bnn_compiler.runtime",
    "Artifact": "bnn_compiler.runtime",
    "verify": "bnn_compiler.verification",
}

__all__ = ["Artifact", "__version__", "compile", "emulate", "load", "verify"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in ("latency", "nn", "zoo"):
        return import_module(f"bnn_compiler.{name}")
    raise AttributeError(
        f"bnn_compiler has no {name!r}; it has {', '.join(__all__)}, latency, nn, zoo"
    )
