"""What every front end hands on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from numpy.typing import NDArray

from bnn_compiler.frontend.oracle import Oracle, Origin


@dataclass(frozen=True)
class Imported:
    """A network as the compiler takes it (frontend/builder.py) and as its framework sees it.

    ``source_hash`` is of its operators and weights. ``origins`` say for the name of each variable
    of ``module`` that is a value of the framework's, which. ``samples`` are the inputs it was
    imported for, float32, in the framework's shapes. ``note`` says what of the network was frozen
    to import it, "" for nothing. ``model`` is what its front end loaded: it imports the same
    network for other inputs.
    """

    module: tvm.IRModule
    source_hash: str
    origins: Mapping[str, Origin]
    samples: tuple[NDArray[Any], ...]
    oracle: Oracle
    note: str = ""
    model: Any = None
