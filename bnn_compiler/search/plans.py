"""What a plan is, and which plans a search may choose from."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import SearchError

#: {group: channels}, and "NAME.groups" for the group count of the convolution NAME.
Plan = Mapping[str, int]
#: int64 [plans, genes]: for each key of a plan the position of its value in the domain.
Genes = NDArray[np.int64]

#: MetaPruning's channel scales: 31 from 0.10 to 1.00.
SCALES = tuple(percent / 100 for percent in range(10, 101, 3))


def key(plan: Plan) -> str:
    """The plan as text, the same for equal plans."""
    return json.dumps({name: int(plan[name]) for name in sorted(plan)})


def seed_of(seed: int, plan: Plan) -> int:
    """The seed of one candidate: of the search's and the plan, never of a process or an order."""
    digest = hashlib.sha256(f"{seed}:{key(plan)}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


@dataclass(frozen=True)
class Domain:
    """The values of each key, the smallest network's first; ``legal`` judges them together.

    More channels are a larger network; more groups of a convolution are a smaller one, so group
    counts stand in falling order.
    """

    names: tuple[str, ...]
    values: tuple[Sequence[int], ...]
    legal: Callable[[Plan], bool] = lambda plan: True

    @staticmethod
    def of(
        full: Mapping[str, int],
        *,
        multiples: Mapping[str, int] | None = None,
        groups: Mapping[str, Sequence[int]] | None = None,
        smallest: float = SCALES[0],
        legal: Callable[[Plan], bool] = lambda plan: True,
    ) -> "Domain":
        """Every count from ``smallest`` of the full one, in steps of ``multiples`` (default 1).

        ``groups`` are the group counts to choose from, by the plan's key. Raises SearchError for a
        network without a group of channels, and for a full count that is not a multiple.
        """
        if not full and not groups:
            raise SearchError("the network has no group of channels that a search could change")
        values: dict[str, Sequence[int]] = {}
        for name, count in full.items():
            step = (multiples or {}).get(name, 1)
            if count % step:
                raise SearchError(f"{name}: {count} channels are not a multiple of {step}")
            first = max(step, -(-int(count * smallest) // step) * step)
            values[name] = range(first, count + 1, step)
        for name, counts in (groups or {}).items():
            values[name] = tuple(sorted(set(counts), reverse=True))
        return Domain(tuple(values), tuple(values.values()), legal)

    @property
    def last(self) -> Genes:
        """[genes]: the positions of the full network."""
        return np.array([len(v) - 1 for v in self.values], np.int64)

    def plans(self, genes: Genes) -> list[dict[str, int]]:
        """The plan of each row."""
        columns = [[int(v[i]) for i in genes[:, g]] for g, v in enumerate(self.values)]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def genes(self, plans: Sequence[Plan]) -> Genes:
        """Rows of the nearest values; a key that is absent has its full value."""
        rows = [
            [self._nearest(g, p.get(n, self.values[g][-1])) for g, n in enumerate(self.names)]
            for p in plans
        ]
        return np.array(rows, np.int64).reshape(len(plans), len(self.names))

    def scaled(self, genes: Genes, factors: NDArray[Any]) -> Genes:
        """Each row's channels times its factor; group counts stay."""
        result = genes.copy()
        for g, values in enumerate(self.values):
            if isinstance(values, range):
                counts = values.start + values.step * genes[:, g]
                position = np.rint((counts * factors - values.start) / values.step)
                result[:, g] = np.clip(position, 0, len(values) - 1).astype(np.int64)
        return result

    def draw(self, rng: np.random.Generator, rows: int) -> Genes:
        """Random positions: of channels by one of ``SCALES``, of groups any."""
        result = np.empty((rows, len(self.names)), np.int64)
        for g, values in enumerate(self.values):
            if isinstance(values, range):
                scales = np.array(SCALES)[rng.integers(len(SCALES), size=rows)]
                counts = np.floor(values[-1] * scales)
                position = np.rint((counts - values.start) / values.step)
                result[:, g] = np.clip(position, 0, len(values) - 1).astype(np.int64)
            else:
                result[:, g] = rng.integers(len(values), size=rows)
        return result

    def _nearest(self, gene: int, value: int) -> int:
        values = self.values[gene]
        if isinstance(values, range):
            nearest = round((value - values.start) / values.step)
            return min(max(nearest, 0), len(values) - 1)
        return min(range(len(values)), key=lambda i: abs(values[i] - value))
