"""A schedule of a convolution as data, and what spaces of schedules are made of."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Point:
    """One schedule of a family; each family has a subclass with the fields that it knows."""

    family: ClassVar[str]

    @property
    def tile(self) -> str:
        """What stays in registers, for reports; nothing if that has no name."""
        return ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as in records and manifests."""
        return {"family": self.family, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse. Raises TypeError for a field too many or too few, or of another type."""
        point = cls(**{name: value for name, value in data.items() if name != "family"})
        if any(type(getattr(point, f.name)) is not f.type for f in fields(cls)):
            raise TypeError(f"not a schedule: {point}")
        return point


@dataclass(frozen=True)
class Foreign(Point):
    """The schedule of a family that does not exist here: in no space, kept as it was read."""

    family = "foreign"
    text: str

    def as_dict(self) -> dict[str, Any]:
        """What was read."""
        data: dict[str, Any] = json.loads(self.text)
        return data


#: Instructions of an unrolled body beyond which LLVM takes long and the code leaves the caches.
_BODY = 1024


def unrolls(accumulators: float, trip: int) -> tuple[int, ...]:
    """Whether to unroll an innermost reduction of ``trip`` steps: 0, or 0 and 1."""
    return (0, 1) if accumulators * trip <= _BODY else (0,)


def tiles(width: int, vectors: int, budget: int) -> Iterator[tuple[int, int]]:
    """(pixels, vectors) that divide a row and a group's vectors, at most ``budget`` of them."""
    for pixels in range(1, min(width, budget) + 1):
        for block in range(1, min(vectors, budget) + 1):
            if width % pixels == 0 and vectors % block == 0 and pixels * block <= budget:
                yield pixels, block
