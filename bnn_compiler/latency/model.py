"""The time of a network on a target, from its kernels: looked up, not measured."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from bnn_compiler import target as targets
from bnn_compiler.cost import records, sealed
from bnn_compiler.cost.pick import Choice, Schedules
from bnn_compiler.errors import InputError, ScheduleError
from bnn_compiler.kernels.task import Task
from bnn_compiler.latency import aggregate, caches, cycles, vocabulary
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.regress import Kernels, Regressor
from bnn_compiler.latency.sample import Sample
from bnn_compiler.latency.spread import Spread, disagreement
from bnn_compiler.latency.table import Table
from bnn_compiler.target import Target

Floats = NDArray[np.float64]
Plan = Mapping[str, int]

#: Kernels whose seconds are remembered.
_MOST_KERNELS = 200_000
#: Of cross-validation, and the ensembles' members in it, which are fewer to save time.
_FOLDS, _FOLD_MEMBERS = 8, 2


class Space(Protocol):
    """Networks of one template (latency/space.py)."""

    def tables(self, plans: Sequence[Plan]) -> Sequence[Table]:
        """The kernels of plans, or those that take the same time."""


class Prediction(NamedTuple):
    """Seconds [n] of n networks, and the interval that is to hold 80 % of them."""

    seconds: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class About:
    """Where a model comes from: the CPU, how many programs were timed there, the error (0.02 is
    2 %) that it had on programs it had not seen, and the seconds of the reference program.

    ``measured`` is False where seconds are predicted from cycles alone.
    """

    cpu: str
    programs: int = 0
    error: float = float("nan")
    reference: float = 0.0
    measured: bool = True

    @property
    def text(self) -> str:
        """One line for reports."""
        if not self.measured:
            return f"predicted, no board: cycles of {self.cpu}, of which none was measured"
        return (
            f"calibrated on {self.cpu}: {self.programs} programs,"
            f" mean error {100 * self.error:.1f} % on programs left out"
        )


@dataclass(frozen=True)
class Row:
    """One kernel of a network: its seconds, and where its schedule comes from."""

    name: str
    what: str
    seconds: float
    source: str
    schedule: str


@dataclass
class LatencyModel:
    """Predicts for one target. What it has predicted of a kernel it remembers."""

    target: Target
    schedules: Schedules
    regressor: Regressor
    spread: Spread
    about: About
    _index: dict[tuple[object, ...], int] = field(default_factory=dict, repr=False)
    _seen: dict[int, tuple[Kernel, int]] = field(default_factory=dict, repr=False)
    _seconds: Floats = field(default_factory=lambda: np.zeros((0, 1)), repr=False)
    _weights: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    _passing: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    _share: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    _kinds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    @staticmethod
    def load(target: str | Path | Target, schedules: str | Path | None = None) -> "LatencyModel":
        """The user's own model of ``target`` if there is one, else the shipped one.

        ARM cores without either get one of predicted cycles. ``schedules`` are tuned records, as in
        ``compile``. Raises TargetError, and ScheduleError if there is no model or it is damaged.
        """
        wanted = target if isinstance(target, Target) else targets.load(target)
        known = Schedules.load(wanted, Path(schedules) if schedules else None)
        for path in (calibrated(wanted), shipped(wanted)):
            if path.is_file():
                return read(path, known)
        return LatencyModel.of_cycles(known)

    @staticmethod
    def of_cycles(schedules: Schedules) -> "LatencyModel":
        """From a table of rough cycles. Raises ScheduleError for a target that is not in it."""
        target = schedules.target
        regressor, spread = cycles.of(target)
        return LatencyModel(
            target, schedules, regressor, spread, About(target.name, measured=False)
        )

    @staticmethod
    def fit(
        samples: Sequence[Sample],
        schedules: Schedules,
        cpu: str,
        prior: Regressor | None = None,
        folds: int = _FOLDS,
    ) -> "LatencyModel":
        """Learn from programs timed on one machine, at least two.

        In each of ``folds`` other programs are left out to see how far they are missed. Raises
        ScheduleError for fewer programs than two.
        """
        if len(samples) < 2:
            raise ScheduleError(f"{len(samples)} programs were timed; a model needs at least two")
        nominal = float(np.median([s.reference for s in samples]))
        speed = np.array([nominal / s.reference for s in samples])
        whole = np.array([s.seconds for s in samples]) * speed
        counts = [len(s.kernels) for s in samples]
        programs = np.repeat(np.arange(len(samples)), counts)
        seconds = np.concatenate([s.steps for s in samples]) * speed[programs]
        kernels = _describe([k.whole() for s in samples for k in s.kernels], schedules)
        inputs = np.array([aggregate.input_bytes(s.kernels) for s in samples])
        passing = np.bincount(programs, kernels.passing).astype(float)
        levels = caches.levels(passing, schedules.target)[programs]
        guessed = np.zeros((len(seconds), _FOLD_MEMBERS))
        folds = min(folds, len(samples))
        order = np.random.default_rng(0).permutation(len(samples)) % folds
        for fold in range(folds):
            left_out = order[programs] == fold
            kept = kernels.at(~left_out)
            learnt = kept, seconds[~left_out], programs[~left_out], levels[~left_out]
            found = Regressor.fit(*learnt, prior, _FOLD_MEMBERS)
            asked = kernels.at(left_out)
            factor = found.factor(asked.share, levels[left_out])
            guessed[left_out] = found.predict(asked) * factor[:, None]
        starts = aggregate.starts(np.array(counts))
        cold = aggregate.cold(
            np.bincount(programs, kernels.weights).astype(float), schedules.target
        )
        known, _ = aggregate.facts(
            np.add.reduceat(seconds, starts)[:, None], np.array(counts, float), inputs, cold
        )
        facts, unsure = aggregate.facts(
            np.add.reduceat(guessed, starts, axis=0), np.array(counts, float), inputs, cold
        )
        shares = aggregate.shares(programs, guessed, kernels.kinds, len(kernels.words.kinds))
        random = np.array([s.random for s in samples])
        spread = Spread.fit(known, facts, unsure, shares, whole, random)
        error = float(np.mean(np.abs(spread.seconds(facts) / whole - 1)))
        regressor = Regressor.fit(kernels, seconds, programs, levels, prior)
        about = About(cpu, len(samples), error, nominal)
        return LatencyModel(schedules.target, schedules, regressor, spread, about)

    def predict(self, space: Space, plans: Sequence[Plan]) -> Prediction:
        """Seconds of networks that are not compiled, one for each plan.

        Raises PlanError for a plan that leaves ``space``.
        """
        found = Prediction(*(np.zeros(len(plans)) for _ in range(3)))
        for table in space.tables(plans) if plans else ():
            indices, _ = self._look_up([table.kernels])
            n, calls = table.at.shape
            inputs = np.array([aggregate.input_bytes([k]) for k in table.kernels])[table.at[:, 0]]
            part = self._sum(indices[table.at].reshape(-1), np.full(n, calls), inputs)
            for all_, some in zip(found, part, strict=True):
                all_[table.rows] = some
        return found

    def predict_kernels(self, networks: Sequence[Sequence[Kernel]]) -> Prediction:
        """Seconds of networks as lists of kernels, none of them empty.

        Raises ScheduleError for a kernel that the model does not know.
        """
        if not networks:
            return Prediction(np.zeros(0), np.zeros(0), np.zeros(0))
        at, counts = self._look_up(networks)
        return self._sum(
            at, counts, np.array([aggregate.input_bytes(kernels) for kernels in networks])
        )

    def _sum(self, at: NDArray[np.int64], counts: NDArray[np.int64], inputs: Floats) -> Prediction:
        """Of networks of ``counts`` [n] kernels each, which are ``at`` in ``_seconds``."""
        starts, parts = aggregate.starts(counts), self._parts(at, counts)
        sums = np.add.reduceat(parts, starts, axis=0)
        cold = aggregate.cold(np.add.reduceat(self._weights[at], starts), self.target)
        facts, unsure = aggregate.facts(sums, counts.astype(float), inputs, cold)
        networks, kinds = np.repeat(np.arange(len(counts)), counts), self._kinds[at]
        size = len(self.regressor.words.kinds)
        shares = aggregate.shares(networks, parts, kinds, size)
        seconds, factor = self.spread.seconds(facts), self.spread.factor(unsure, shares)
        return Prediction(seconds, seconds / factor, seconds * factor)

    def _parts(self, at: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
        """Seconds [sum of counts, members] of kernels in their networks, as in ``_sum``."""
        passing = np.add.reduceat(self._passing[at], aggregate.starts(counts))
        levels = np.repeat(caches.levels(passing, self.target), counts)
        return np.asarray(
            self._seconds[at] * self.regressor.factor(self._share[at], levels)[:, None]
        )

    def explain(self, kernels: Sequence[Kernel]) -> list[Row]:
        """What each kernel takes of the network's predicted time, in order."""
        parts = self.kernel_seconds(kernels)
        scale = float(self.predict_kernels([kernels]).seconds[0]) / parts.sum()
        rows = []
        for kernel, part in zip(kernels, parts, strict=True):
            task = kernel.task
            choice = self.schedules.pick(task) if isinstance(task, Task) else None
            rows.append(
                Row(
                    kernel.name,
                    kernel.what,
                    float(part * scale),
                    "fixed" if choice is None else choice.source,
                    "" if choice is None else f"{choice.point.family} {choice.point.tile}".strip(),
                )
            )
        return rows

    def kernel_seconds(self, kernels: Sequence[Kernel]) -> Floats:
        """Of each kernel in a network [n]."""
        parts = self._parts(*self._look_up([kernels]))
        return np.asarray(np.exp(np.log(parts).mean(axis=1)))

    def disagreement(self, networks: Sequence[Sequence[Kernel]]) -> Floats:
        """How far the ensemble's members are from each other [n], as a share of the time."""
        at, counts = self._look_up(networks)
        return disagreement(
            np.add.reduceat(self._parts(at, counts), aggregate.starts(counts), axis=0)
        )

    def save(self, path: Path) -> None:
        """Write it (sealed). Raises ScheduleError if it cannot be written."""
        about = {**asdict(self.about), "target": self.target.name}
        data = {
            "about": about,
            "spread": self.spread.as_dict(),
            "regressor": self.regressor.as_dict(),
        }
        try:
            sealed.write(path, zlib.compress(json.dumps(data).encode(), 9))
        except OSError as e:
            raise ScheduleError(f"cannot write {path}: {e}; name another file") from e

    def _look_up(
        self, networks: Sequence[Sequence[Kernel]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices in ``_seconds`` of all kernels, and how many each network has."""
        if not all(networks):
            raise InputError("a network without kernels has no time")
        if len(self._index) > _MOST_KERNELS:
            self._index.clear()
            self._seen.clear()
            self._seconds, self._weights = self._seconds[:0], self._weights[:0]
            self._passing, self._share = self._passing[:0], self._share[:0]
            self._kinds = self._kinds[:0]
            self.schedules.forget()
        if len(self._seen) > _MOST_KERNELS:
            self._seen.clear()
        seen = self._seen
        missing = [
            k for kernels in networks for k in kernels if seen.get(id(k), (None,))[0] is not k
        ]
        if missing:
            self._add(missing)
        at = [seen[id(k)][1] for kernels in networks for k in kernels]
        return np.array(at, np.int64), np.array([len(k) for k in networks], np.int64)

    def _add(self, kernels: Sequence[Kernel]) -> None:
        """Know these kernels; those that are equal on whole vectors are asked for once."""
        wholes = [k.whole() for k in kernels]
        keys = [(k.task, k.reads, k.writes) for k in wholes]
        new = {key: k for key, k in zip(keys, wholes, strict=True) if key not in self._index}
        if new:
            described = _describe(list(new.values()), self.schedules)
            seconds = self.regressor.predict(described)
            first = len(self._weights)
            before = self._seconds.reshape(first, seconds.shape[1] if not first else -1)
            self._seconds = np.concatenate([before, seconds])
            self._weights = np.concatenate([self._weights, described.weights])
            self._passing = np.concatenate([self._passing, described.passing])
            self._share = np.concatenate([self._share, described.share])
            self._kinds = np.concatenate([self._kinds, described.kinds])
            self._index.update({key: first + i for i, key in enumerate(new)})
        for key, kernel in zip(keys, kernels, strict=True):
            self._seen[id(kernel)] = (kernel, self._index[key])


def calibrated(target: Target) -> Path:
    """Where the user's own model of a target lies; the file may be missing."""
    return user_cache_path("bnn_compiler") / "latency" / f"{target.name}.latency.ubj"


def shipped(target: Target) -> Path:
    """Where the model that comes with the package lies; the file may be missing."""
    return records.shipped(target).with_suffix(".latency.ubj")


def read(path: Path, schedules: Schedules) -> LatencyModel:
    """The model in a file. Raises ScheduleError for a file that ``save`` did not write, or that is
    of another version or target.
    """
    again = "`bnnc calibrate` makes a new one"
    words = vocabulary.of(schedules.target)
    try:
        data = json.loads(zlib.decompress(sealed.read(path)))
        name = data["about"].pop("target")
        about = About(**data["about"])
        regressor = Regressor.from_dict(data["regressor"], words)
        spread = Spread.from_dict(data["spread"], len(words.kinds))
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as e:
        raise ScheduleError(f"{path} is not a latency model of this version: {e}; {again}") from e
    target = schedules.target
    if name != target.name:
        raise ScheduleError(f"{path} is a latency model of {name}, not of {target.name}; {again}")
    return LatencyModel(target, schedules, regressor, spread, about)


def _describe(kernels: Sequence[Kernel], schedules: Schedules) -> Kernels:
    """What the regressor is told of kernels."""
    tasks = [k.task for k in kernels]
    picked = iter(schedules.pick_all([t for t in tasks if isinstance(t, Task)]))
    choices: list[Choice | None] = [next(picked) if isinstance(t, Task) else None for t in tasks]
    words = vocabulary.of(schedules.target)
    x, terms, kinds = vocabulary.matrix(kernels, choices, schedules.target)
    return Kernels(x, terms, kinds, words)
