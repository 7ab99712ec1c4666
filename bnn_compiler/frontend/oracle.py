"""What the framework of a network says that the network computes: the reference of ``verify``.

Arrays are numpy's, whatever the framework's own tensors are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Levels:
    """A sign that the framework sees as center + half * sign(x - edge).

    Float arrays that broadcast to x in the framework's own layout.
    """

    edge: NDArray[Any]
    center: NDArray[Any]
    half: NDArray[Any]


#: A primitive that moves elements (ops/primitives.py) and its parameters.
Move = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Origin:
    """Where a value of the imported module comes from.

    ``value`` is its name in the framework's graph, ``shape`` [N, H, W, C] its shape here. For a
    sign ``source`` is the name of the value x whose sign is taken, as ``levels`` say. ``moves``
    are made first, on the value as the framework has it; with ``last`` its channels are then its
    last dimension, else the second.
    """

    value: str
    shape: tuple[int, ...]
    source: str = ""
    levels: Levels | None = None
    moves: tuple[Move, ...] = ()
    last: bool = False


@dataclass(frozen=True)
class Truth:
    """A value of the network, float32 [N, H, W, C] or an output's own shape and dtype.

    ``rounding`` is the largest difference that rounding explains. A sign has a ``margin``, the
    distance of its input from 0, in float32 or float64, whichever is larger; ``rounding`` is then
    that of its input. Integers and truth values are ``ambiguous`` where rounding decides them, and
    exact elsewhere.
    """

    value: NDArray[Any]
    rounding: float
    margin: NDArray[np.float64] | None = None
    ambiguous: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Observation:
    """One sample through the network.

    ``module_outputs`` are the user's network's own, ``outputs`` those of the graph that was
    imported, ``values`` by name in the imported module. ``decided_zeros`` counts float32 sums that
    a sign found to be 0 although they are not: rounding met 0, and the sign decided as the compiled
    one does, +1.
    """

    module_outputs: list[Truth]
    outputs: list[Truth]
    values: Mapping[str, Truth]
    decided_zeros: int


class Oracle(Protocol):
    """A network in its own framework, run as it was given."""

    def observe(self, inputs: Sequence[NDArray[Any]], wanted: set[str]) -> Observation:
        """Run the network on ``inputs``; keep the ``wanted`` values, and every sign's.

        ``inputs`` are float32 in the shapes that the framework sees, ``wanted`` names of the
        imported module. Raises VerifyError if the network cannot be run.
        """

    def exact_difference(self, inputs: Sequence[NDArray[Any]]) -> float:
        """Largest difference of the network and its graph, relative to the largest value.

        In float64 where the network can be run in that.
        """
