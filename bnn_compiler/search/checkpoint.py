"""The state of a search on disk: written after every step, so that a killed search goes on."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bnn_compiler import files
from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Lost
from bnn_compiler.search.history import History, Scored
from bnn_compiler.search.plans import key

VERSION = 1
NAME = "search.json"


@dataclass(frozen=True)
class Measured:
    """A plan compiled and timed: seconds, and those that the model, uncorrected, had said."""

    plan: dict[str, int]
    seconds: float
    predicted: float | None

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return None if not self.predicted else self.seconds / self.predicted


@dataclass(frozen=True)
class Trained:
    """A plan trained from scratch with one seed: accuracies 0..1, or why there are none.

    ``stage`` is "halving 1", "halving 2", ... for short trainings, "full" for the whole recipe.
    ``validation`` is of the images that plans are chosen by, ``test`` of those nothing is.
    """

    plan: dict[str, int]
    stage: str
    seed: int
    validation: float | None
    test: float | None = None
    lost: str = ""


@dataclass
class State:
    """All that a search has found out."""

    history: History = field(default_factory=History)
    #: Factors on the predicted time, learnt from measurements; the last one counts.
    corrections: list[float] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    #: Seconds spent in evaluating candidates, by generation: for the time that is left.
    spent: list[float] = field(default_factory=list)

    @property
    def factor(self) -> float:
        """The factor on the predicted time."""
        return self.corrections[-1] if self.corrections else 1.0

    def measured_of(self, plan: dict[str, int]) -> Measured | None:
        """The measurement of a plan, if there is one."""
        return next((m for m in self.measured if m.plan == plan), None)

    def trained_of(self, plan: dict[str, int], stage: str) -> list[Trained]:
        """The trainings of a plan in a stage."""
        return [t for t in self.trained if t.plan == plan and t.stage == stage]

    def inherited_of(self, plan: dict[str, int]) -> float | None:
        """The accuracy that the search gave a plan, or None."""
        return next((c.score for c in self.history if _is(c, plan)), None)  # type: ignore[return-value]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "generations": [[c.as_dict() for c in g] for g in self.history.generations],
            "corrections": self.corrections,
            "measured": [asdict(m) for m in self.measured],
            "trained": [asdict(t) for t in self.trained],
            "spent": self.spent,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "State":
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        history = History(
            [tuple(Scored.from_dict(c) for c in generation) for generation in data["generations"]]
        )
        return State(
            history,
            [float(f) for f in data["corrections"]],
            [Measured(**m) for m in data["measured"]],
            [Trained(**t) for t in data["trained"]],
            [float(s) for s in data["spent"]],
        )


def _is(candidate: Scored, plan: dict[str, int]) -> bool:
    return not isinstance(candidate.score, Lost) and key(candidate.plan) == key(plan)


@dataclass(frozen=True)
class Checkpoint:
    """A file in ``folder``. ``search`` is what tells one search from another, as plain data."""

    folder: Path
    search: dict[str, Any]

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder / NAME

    def save(self, state: State) -> None:
        """Replace the file in one step."""
        data = {"version": VERSION, "search": self.search, **state.as_dict()}
        files.replace_text(self.path, json.dumps(data))

    def load(self, *, resume: bool) -> State:
        """The state so far; a new one where there is no file.

        Raises SearchError if the file is there and ``resume`` is not asked for, is of another
        search (naming what differs), or is no checkpoint.
        """
        if not self.path.is_file():
            return State()
        if not resume:
            raise SearchError(
                f"{self.path} is there already: --resume goes on with it, another -o starts anew"
            )
        try:
            data = json.loads(self.path.read_text())
            if data["version"] != VERSION:
                raise SearchError(
                    f"{self.path} is of another version of bnn_compiler; start with another -o"
                )
            state = State.from_dict(data)
            before = data["search"]
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise SearchError(f"{self.path} is not a search's checkpoint: {e!r}") from e
        self._compare(before)
        return state

    def _compare(self, before: dict[str, Any]) -> None:
        # As JSON gives it back: tuples are lists.
        now = json.loads(json.dumps(self.search))
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise SearchError(
                    f"{self.path} is of another search: {name} was {before.get(name)!r} and is"
                    f" {now.get(name)!r}; give the same, or another -o"
                )
