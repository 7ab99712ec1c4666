"""What a search of a real network is made of: its space, its data, its judges and its training.

A ``Task`` is plain data, so that worker processes make the same networks and images from it.
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bnn_compiler import files
from bnn_compiler.errors import BnnCompilerError, SearchError
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.search import data, halving
from bnn_compiler.search.accuracy import Accuracy, Evaluate, Lost
from bnn_compiler.search.checkpoint import Trained
from bnn_compiler.search.deterministic import deterministic
from bnn_compiler.search.finals import Train
from bnn_compiler.search.hypernet import PruningNet
from bnn_compiler.search.plans import Domain, Plan, key, seed_of
from bnn_compiler.search.recalibrate import Inherited, accuracy
from bnn_compiler.search.scratch import trained
from bnn_compiler.search.supernet import REMEMBER, Supernet, pool, random_plans, sandwich
from bnn_compiler.search.train import Progress, Settings, fastest, fit

#: Where the weights of a search's candidates come from.
WEIGHTS = ("shared", "generated")
#: Stages of a search: judging by inherited weights, and the full training.
INHERITED, FULL = "inherited", "full"
#: A full recipe's share of each short training, in order; each has an epoch more than the one
#: before, at least.
HALVINGS = (1 / 8, 1 / 4)
#: Random plans that are tried until one is legal.
_TRIES = 1000
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Crops:
    """A space whose crops are not tried without data first: they are run anyway."""

    space: PlanSpace

    @property
    def model(self) -> nn.Module:
        return self.space.model

    @property
    def full(self) -> Plan:
        return self.space.full

    def crop(self, plan: Plan) -> nn.Module:
        return self.space.crop(plan, check=False)


@dataclass(frozen=True)
class Task:
    """A network, its images and how it is trained; ``folder`` is where weights are kept.

    ``model`` is "package.module:factory" (a module itself only without worker processes).
    ``recipe`` trains a plan in full, ``supernet_epochs`` the supernet. ``groups`` are group counts
    to choose from for every convolution, empty to leave them. ``choose`` is the share of the
    training images that plans are chosen by.
    """

    model: Any
    shape: tuple[int, ...]
    source: str
    folder: Path
    recipe: Settings
    supernet_epochs: int
    weights: str = "shared"
    checkpoint: Path | None = None
    target: str = "native"
    groups: tuple[int, ...] = ()
    seed: int = 0
    choose: float = 0.2

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise SearchError(f"weights {self.weights!r}; known: {', '.join(WEIGHTS)}")
        if len(self.shape) != 4 or self.shape[2] != self.shape[3]:
            raise SearchError(f"shape {list(self.shape)}: give [N, C, H, W] of square images")

    def __getstate__(self) -> dict[str, Any]:
        # What was made from the fields is made again where this goes.
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """Example inputs."""
        return (torch.randn(self.shape, generator=torch.Generator().manual_seed(0)),)

    @cached_property
    def space(self) -> PlanSpace:
        """The network's plans."""
        with deterministic(self.seed):
            return PlanSpace.of(
                self.model, self.inputs, checkpoint=self.checkpoint, target=self.target
            )

    @cached_property
    def splits(self) -> data.Splits:
        """The images. Raises TrainingError."""
        return data.load(self.source, seed=self.seed, choose=self.choose, size=self.shape[2])

    @cached_property
    def domain(self) -> Domain:
        """What is chosen from: every legal count of channels, and of ``groups`` if there are any.

        Raises SearchError if there is nothing to choose.
        """
        multiples = {name: _multiple(self.space, name) for name in self.space.groups}
        choices = {}
        if self.groups:
            every = math.lcm(*self.groups)
            multiples = {
                name: step if self.space.groups[name] % math.lcm(step, every) else every
                for name, step in multiples.items()
            }
            for name in self.space.convolutions:
                possible = self.space.group_counts(name, self.space.full)
                counts = [c for c in self.groups if c in possible]
                if len(counts) > 1:
                    choices[name] = counts
        return Domain.of(self.space.groups, multiples=multiples, groups=choices, legal=self._legal)

    def _legal(self, plan: Plan) -> bool:
        try:
            self.space.check(plan)
        except BnnCompilerError:
            return False
        return True

    # ---- the supernet

    @property
    def supernet_path(self) -> Path:
        """The supernet's training checkpoint."""
        return self.folder / "supernet.pt"

    def supernet(self) -> Supernet | PruningNet:
        """As it begins: the network's own weights."""
        with deterministic(self.seed):
            crops = _Crops(self.space)
            return Supernet(crops) if self.weights == "shared" else PruningNet(crops)

    def train_supernet(self, tell: Callable[[Progress], None]) -> None:
        """Train it, or go on where that was interrupted. Raises TrainingError."""
        net = self.supernet()
        settings = replace(self.recipe, epochs=self.supernet_epochs, seed=self.seed)
        smallest = self.domain.plans(np.zeros_like(self.domain.last)[None])[0]
        draw = pool(self.draw, REMEMBER - 1, seed=self.seed)
        if isinstance(net, Supernet):
            objective = sandwich(draw, smallest if self._legal(smallest) else self.space.full)
        else:
            objective = random_plans(draw)
        fit(
            net,
            self.splits.train,
            settings,
            objective=objective,
            progress=tell,
            checkpoint=self.supernet_path,
        )

    def draw(self, rng: np.random.Generator) -> Plan:
        """A random legal plan."""
        for _ in range(_TRIES):
            (plan,) = self.domain.plans(self.domain.draw(rng, 1))
            if self._legal(plan):
                return plan
        raise SearchError(f"none of {_TRIES} random plans can be: give other --groups")

    # ---- judges, made in worker processes

    def inherited(self) -> Evaluate:
        """(plan, seed) -> accuracy with the supernet's weights."""
        net = self.supernet()
        net.load_state_dict(self._supernet_state()["model"])
        return Inherited(net.to(fastest(_CPU)), self.splits.train, self.splits.choose)

    def _supernet_state(self) -> dict[str, Any]:
        found: dict[str, Any] = torch.load(
            self.supernet_path, map_location="cpu", weights_only=True
        )
        return found

    def supernet_bytes(self) -> bytes:
        """The supernet's checkpoint without what only its training needs."""
        return _bytes({"model": self._supernet_state()["model"]})

    def weights_path(self, plan: Plan, seed: int) -> Path:
        """Where the weights of a plan that was trained in full are."""
        digest = hashlib.sha256(f"{key(plan)}:{seed}".encode()).hexdigest()[:16]
        return self.folder / "weights" / f"{digest}.pt"

    def trained_network(self, plan: Plan, seed: int) -> nn.Module:
        """The plan's network with the weights of its full training, in eval mode."""
        network = self.space.crop(plan)
        network.load_state_dict(torch.load(self.weights_path(plan, seed), weights_only=True))
        return network.eval()


@dataclass(frozen=True)
class Judges:
    """Makes a worker's judges: "inherited", or a stage of training from scratch.

    Of the full training ("full") the weights are kept. It is a pool's Luggage too: a machine that
    does not share the folder is sent what the user gave, and the supernet.
    """

    task: Task

    @property
    def folder(self) -> Path:
        """The task's."""
        return self.task.folder

    def at(self, folder: Path) -> "Judges":
        """See Luggage."""
        moved = {f: folder / f"{f}{path.suffix}" for f, path in self._given().items()}
        target = str(moved.get("target", self.task.target))
        checkpoint = moved.get("checkpoint")
        return Judges(replace(self.task, folder=folder, target=target, checkpoint=checkpoint))

    def packed(self, stage: str) -> dict[str, bytes]:
        """See Luggage."""
        found = {f"{f}{path.suffix}": path.read_bytes() for f, path in self._given().items()}
        if stage == INHERITED:
            found[self.task.supernet_path.name] = self.task.supernet_bytes()
        return found

    def left(self, stage: str, plan: Plan, seed: int) -> list[str]:
        """See Luggage."""
        if stage != FULL:
            return []
        return [str(self.task.weights_path(plan, seed).relative_to(self.folder))]

    def _given(self) -> dict[str, Path]:
        """Files of the user's that the judges read, by the task's fields."""
        found = {}
        if self.task.checkpoint is not None:
            found["checkpoint"] = self.task.checkpoint
        if Path(self.task.target).suffix == ".toml":
            found["target"] = Path(self.task.target)
        return found

    def __call__(self, stage: str) -> Evaluate:
        """The judge of a stage."""
        task = self.task
        if stage == INHERITED:
            return task.inherited()
        settings = replace(task.recipe, epochs=epochs_of(stage, task.recipe.epochs))

        def judge(plan: Plan, seed: int) -> float:
            network = trained(task.space, plan, task.splits.train, settings, seed)
            if stage == FULL:
                files.replace_bytes(task.weights_path(plan, seed), _bytes(network.state_dict()))
            with deterministic(seed):
                return accuracy(network.to(fastest(_CPU)), task.splits.choose)

        return judge


def epochs_of(stage: str, full: int) -> int:
    """Of a stage: "full", or "halving N"."""
    if stage == FULL:
        return full
    number = int(stage.split()[1])
    return min(full, max(number, round(full * HALVINGS[number - 1])))


def training(task: Task, judge: Callable[[str], Accuracy]) -> Train:
    """Trains plans by ``judge`` (stage -> an Accuracy); of full trainings also the test's."""

    def train(plans: Sequence[Plan], seeds: Sequence[int], stage: str) -> list[Trained]:
        scores, results = judge(stage).of(plans, seeds), []
        for plan, seed, score in zip(plans, seeds, scores, strict=True):
            if isinstance(score, Lost):
                results.append(Trained(dict(plan), stage, seed, None, lost=score.reason))
            else:
                test = None
                if stage == FULL:
                    with deterministic(seed):
                        network = task.trained_network(plan, seed).to(fastest(_CPU))
                        test = accuracy(network, task.splits.test)
                results.append(Trained(dict(plan), stage, seed, score, test))
        return results

    return train


def choose(
    plans: Sequence[dict[str, int]], always: dict[str, int], train: Train, *, seed: int = 0
) -> list[dict[str, int]]:
    """Successive halving of the finalists, as run.Choose has it: the last round's plans first."""

    @dataclass(frozen=True)
    class Stage:
        name: str

        def of(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | None]:
            its = [seed_of(s, p) for p, s in zip(plans, seeds, strict=True)]
            return [t.validation for t in train(plans, its, self.name)]

    stages = [Stage(f"halving {i + 1}") for i in range(len(HALVINGS))]
    rounds = halving.halve(plans, stages, seeds=(seed,), always=(always,))
    return [dict(p) for p in rounds[-1].plans]


def _bytes(state: Any) -> bytes:
    """What ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _multiple(space: PlanSpace, name: str) -> int:
    """The least step in which a group's channels can change; its full count if it cannot."""
    full = space.groups[name]
    for step in range(1, full):
        if full % step == 0:
            try:
                for count in {step, full - step}:
                    space.check({name: count})
            except BnnCompilerError:
                continue
            return step
    return full
