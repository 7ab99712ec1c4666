"""The time of a network as one group of channels grows: a staircase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bnn_compiler.errors import InputError
from bnn_compiler.latency.model import LatencyModel, Prediction, Space

#: Counts that are predicted where the group has more.
_MOST = 256


class Groups(Space, Protocol):
    """A space that names its groups."""

    @property
    def groups(self) -> Mapping[str, int]:
        """Full channels by name."""


@dataclass(frozen=True)
class Sweep:
    """Predicted seconds of a network at ``channels`` of ``group``, the rest as it was.

    ``dominated`` are the counts for which a larger one takes no longer: nobody wants those.
    """

    group: str
    channels: tuple[int, ...]
    times: Prediction

    @property
    def dominated(self) -> tuple[bool, ...]:
        """Of each count."""
        seconds = self.times.seconds
        beyond = np.append(np.minimum.accumulate(seconds[::-1])[::-1][1:], np.inf)
        return tuple(bool(v) for v in beyond <= seconds)

    def rows(self) -> list[list[str]]:
        """Of a table: each count that is not dominated, and the counts below it that are."""
        found, below = [], []
        for count, bad, time, low, high in zip(
            self.channels,
            self.dominated,
            self.times.seconds,
            self.times.low,
            self.times.high,
            strict=True,
        ):
            if bad:
                below.append(count)
                continue
            run = (
                ""
                if not below
                else f"{below[0]}"
                if len(below) == 1
                else f"{below[0]}..{below[-1]}"
            )
            found.append(
                [
                    self.group,
                    str(count),
                    f"{1e3 * time:.3f}",
                    f"{1e3 * low:.3f} to {1e3 * high:.3f}",
                    run,
                ]
            )
            below = []
        return found

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "group": self.group,
            "channels": list(self.channels),
            "seconds": self.times.seconds.tolist(),
            "low": self.times.low.tolist(),
            "high": self.times.high.tolist(),
            "dominated": list(self.dominated),
        }


#: Of ``Sweep.rows``.
COLUMNS = ("group", "channels", "ms", "80 % of networks", "dominated")


def sweep(
    model: LatencyModel,
    space: Groups,
    group: str,
    plan: Mapping[str, int],
    channels: Sequence[int] | None = None,
) -> Sweep:
    """Predict ``plan`` at every count of ``group``, or at ``channels`` only.

    Raises InputError for a group that the network does not have.
    """
    if group not in space.groups:
        known = ", ".join(space.groups)
        raise InputError(f"no group {group!r} of channels in this network; it has {known}")
    full = space.groups[group]
    if channels is None:
        step = -(-full // _MOST)
        channels = sorted({*range(step, full + 1, step), full})
    times = model.predict(space, [{**plan, group: count} for count in channels])
    return Sweep(group, tuple(channels), times)
