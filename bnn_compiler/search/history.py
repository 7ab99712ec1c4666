"""What a search has seen, generation by generation; everything else follows from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnn_compiler.search.accuracy import Lost
from bnn_compiler.search.plans import Plan, key


@dataclass(frozen=True)
class Scored:
    """A candidate and what became of it."""

    plan: dict[str, int]
    score: float | Lost

    @property
    def accuracy(self) -> float:
        """0..1; -1 for a lost candidate, which is below all others."""
        return -1.0 if isinstance(self.score, Lost) else self.score

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        lost = isinstance(self.score, Lost)
        return {
            "plan": self.plan,
            "accuracy": None if lost else self.score,
            "lost": self.score.reason if isinstance(self.score, Lost) else "",
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Scored":
        """The inverse. Raises KeyError or TypeError for anything else."""
        lost = Lost(data["lost"]) if data["accuracy"] is None else float(data["accuracy"])
        return Scored({str(k): int(v) for k, v in data["plan"].items()}, lost)


@dataclass
class History:
    """The generations so far, each with its candidates in the order they were proposed."""

    generations: list[tuple[Scored, ...]] = field(default_factory=list)

    def add(self, plans: Sequence[Plan], scores: Sequence[float | Lost]) -> None:
        """One more generation."""
        pairs = zip(plans, scores, strict=True)
        self.generations.append(tuple(Scored(dict(p), s) for p, s in pairs))

    def __iter__(self) -> Iterator[Scored]:
        """Every candidate in order."""
        return (c for generation in self.generations for c in generation)

    def __len__(self) -> int:
        return sum(len(g) for g in self.generations)

    @property
    def seen(self) -> set[str]:
        """The keys of all plans."""
        return {key(c.plan) for c in self}

    def ranked(self) -> list[Scored]:
        """Those that have an accuracy, best first; the earlier of equals."""
        return sorted((c for c in self if c.accuracy >= 0), key=lambda c: -c.accuracy)

    @property
    def lost(self) -> list[Scored]:
        """The candidates that failed."""
        return [c for c in self if isinstance(c.score, Lost)]
