"""The cost model: XGBoost's trees on binary-aware features predict the time of any schedule.

It learns the logarithm of (measured seconds / rough cycles), so that what features.py can count is
not learned again.
"""

import glob
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_compiler import families
from bnn_compiler.cost import features, gpu_features, sealed
from bnn_compiler.cost.trees import Trees
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Gpu, Hardware

log = logging.getLogger("bnn_compiler")

_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 6,
    "eta": 0.12,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 2,
    "nthread": 1,
    "seed": 0,
}
_ROUNDS = 160


@dataclass(frozen=True)
class Sample:
    """One measured schedule."""

    task: Task
    point: Point
    seconds: float


class CostModel:
    """Predicts seconds on one target's hardware."""

    def __init__(self, trees: Trees, hardware: Hardware | Gpu) -> None:
        self._trees = trees
        self._hardware = hardware

    @staticmethod
    def fit(samples: Sequence[Sample], hardware: Hardware | Gpu) -> "CostModel":
        """Train on at least one sample; each task weighs the same."""
        import xgboost

        rows, goals, weights = [], [], []
        for task, of_task in _by_task(samples).items():
            x, rough = _analyse([(task, [s.point for s in of_task])], hardware)
            rows.append(x)
            goals.append(np.log(np.array([s.seconds for s in of_task]) / rough))
            best = min(s.seconds for s in of_task)
            # What is near the best is what has to be told apart.
            weights.append(np.array([best / s.seconds for s in of_task]) / len(of_task) ** 0.5)
        data = xgboost.DMatrix(
            np.concatenate(rows),
            np.concatenate(goals),
            weight=np.concatenate(weights),
            feature_names=_names(hardware),
        )
        booster = xgboost.train(_PARAMETERS, data, _ROUNDS)
        booster.set_attr(samples=str(len(samples)))
        return CostModel(Trees.read(bytes(booster.save_raw("ubj"))), hardware)

    @property
    def samples(self) -> int:
        """How many measurements it has learnt from."""
        return int(self._trees.attributes.get("samples", 0))

    def predict(self, task: Task, points: Sequence[Point]) -> np.ndarray:
        """Seconds [len(points)]."""
        return self._seconds(*_analyse([(task, points)], self._hardware))

    def space(self, task: Task) -> list[Point]:
        """The schedules of a task."""
        return families.space(task, self._hardware)

    def best(self, task: Task) -> Point:
        """The schedule predicted to be fastest."""
        return self.best_of_each([task])[0]

    def best_of_each(self, tasks: Sequence[Task]) -> list[Point]:
        """The same for many tasks; the trees are asked once."""
        if not tasks:
            return []
        spaces = [self.space(task) for task in tasks]
        seconds = self._seconds(*_analyse(list(zip(tasks, spaces, strict=True)), self._hardware))
        ends = np.cumsum([len(s) for s in spaces])
        of_each = np.split(seconds, ends[:-1])
        return [s[int(v.argmin())] for s, v in zip(spaces, of_each, strict=True)]

    def _seconds(self, x: np.ndarray, rough: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(self._trees.predict(x)) * rough)

    def save(self, path: Path) -> None:
        """Write the model (UBJSON, sealed). Raises ScheduleError if it cannot be written."""
        try:
            sealed.write(path, self._trees.contents)
        except OSError as e:
            raise ScheduleError(f"cannot write {path}: {e}; --schedules names another file") from e


def best_of_each(models: Sequence[CostModel], tasks: Sequence[Task]) -> list[Point]:
    """The schedules predicted to be fastest: on the CPU of one model, or on the mean of several."""
    if not tasks:
        return []
    if len(models) == 1:
        return models[0].best_of_each(tasks)
    return [_best_on_all(models, task) for task in tasks]


def _best_on_all(models: Sequence[CostModel], task: Task) -> Point:
    space = models[0].space(task)
    logs = [np.log(model.predict(task, space)) for model in models]
    return space[int(np.mean(logs, axis=0).argmin())]


def beside(records: Path, cpu: str) -> Path:
    """Where the model of a CPU lies that was trained together with a file of records."""
    return records.with_name(".".join(n for n in (records.stem, cpu, "model.ubj") if n))


def all_beside(records: Path, hardware: Hardware | Gpu) -> dict[str, CostModel]:
    """The models of all CPUs that lie there. Raises ScheduleError as ``load`` does."""
    found = {}
    for path in sorted(records.parent.glob(f"{glob.escape(records.stem)}.*")):
        cpu = path.name[len(records.stem) + 1 :].removesuffix("model.ubj").rstrip(".")
        if path == beside(records, cpu) and (model := load(path, hardware)) is not None:
            found[cpu] = model
    return found


def load(path: Path, hardware: Hardware | Gpu) -> CostModel | None:
    """The model in a file; None, with a warning, for one of other features; None if there is none.

    Raises ScheduleError for a file that is not, bit for bit, what ``save`` wrote.
    """
    if not path.is_file():
        return None
    try:
        # XGBoost crashes on some damaged models, so it sees none.
        trees = Trees.read(sealed.read(path))
    except (ValueError, OSError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ScheduleError(
            f"{path} is not a cost model: {reason}. Remove it; `bnnc tune` trains a new one"
        ) from e
    if list(trees.names) != _names(hardware):
        log.warning("the cost model %s knows other features and is not used: tune again", path)
        return None
    return CostModel(trees, hardware)


def _names(hardware: Hardware | Gpu) -> list[str]:
    return list((gpu_features if isinstance(hardware, Gpu) else features).NAMES)


def _analyse(
    spaces: Sequence[tuple[Task, Sequence[Point]]], hardware: Hardware | Gpu
) -> tuple[np.ndarray, np.ndarray]:
    """Features and rough times, in any unit, of schedules."""
    if isinstance(hardware, Gpu):
        return gpu_features.analyse(spaces, hardware)
    found, cycles = features.analyse(spaces, hardware)
    return found, cycles.total


def _by_task(samples: Sequence[Sample]) -> dict[Task, list[Sample]]:
    tasks: dict[Task, list[Sample]] = {}
    for sample in samples:
        tasks.setdefault(sample.task, []).append(sample)
    return tasks


@dataclass(frozen=True)
class Quality:
    """How a model does on workloads it was not trained on.

    ``rank`` is the mean over tasks of Spearman's correlation of predicted and measured times,
    ``error`` the mean absolute percentage error (0.1 is 10 %), ``pick`` the geometric mean of
    (time of the schedule it picks / best time measured), among the schedules measured.
    """

    tasks: int
    samples: int
    rank: float
    error: float
    pick: float


def cross_validate(samples: Sequence[Sample], hardware: Hardware | Gpu, folds: int = 5) -> Quality:
    """Quality on left-out workloads: all tasks of one shape are left out together.

    Raises ScheduleError if there are fewer shapes than two.
    """
    tasks = _by_task(samples)
    shapes = sorted({repr(t.work) for t in tasks})
    folds = min(folds, len(shapes))
    if folds < 2:
        raise ScheduleError("cross-validation needs measurements of at least two workloads")
    order = np.random.default_rng(0).permutation(len(shapes))
    fold_of = {shapes[at]: i % folds for i, at in enumerate(order)}
    ranks, errors, picks = [], [], []
    for fold in range(folds):
        model = CostModel.fit([s for s in samples if fold_of[repr(s.task.work)] != fold], hardware)
        for task, of_task in tasks.items():
            if fold_of[repr(task.work)] != fold or len(of_task) < 4:
                continue
            truth = np.array([s.seconds for s in of_task])
            guess = model.predict(task, [s.point for s in of_task])
            ranks.append(_spearman(guess, truth))
            errors.append(float(np.mean(np.abs(guess - truth) / truth)))
            picks.append(float(np.log(truth[guess.argmin()] / truth.min())))
    if not ranks:
        raise ScheduleError("cross-validation needs at least four measurements of a workload")
    return Quality(
        len(ranks),
        len(samples),
        float(np.mean(ranks)),
        float(np.mean(errors)),
        float(np.exp(np.mean(picks))),
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
