"""A plain training loop: what a search needs, and no framework.

The result depends on the settings, the data and the weights one starts from, not on where the run
was interrupted: every epoch has seeds of its own, and the checkpoint of an epoch holds the rest.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bnn_compiler.errors import TrainingError
from bnn_compiler.files import replace_bytes
from bnn_compiler.nn.loss import distillation_loss
from bnn_compiler.nn.parameters import Parameters
from bnn_compiler.nn.recipes import Optimizers
from bnn_compiler.search.data import Labelled, batches
from bnn_compiler.search.deterministic import deterministic

#: (model, images, labels, random numbers) -> losses, each differentiated before the next is made.
Objective = Callable[[Any, Tensor, Tensor, np.random.Generator], Iterator[Tensor]]


@dataclass(frozen=True)
class Settings:
    """How to train. Images move by up to ``shift`` pixels and are mirrored at random (``flip``).

    Raises TrainingError for settings that cannot be.
    """

    epochs: int
    batch: int = 100
    lr: float = 3e-3
    schedule: Literal["linear", "cosine"] = "linear"
    weight_decay: float = 0.0
    smoothing: float = 0.0
    shift: int = 0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.lr <= 0:
            raise TrainingError(
                f"{self.epochs} epochs of batches of {self.batch} at rate {self.lr}:"
                " at least 1, at least 2 (batch norm), above 0"
            )
        if self.schedule not in ("linear", "cosine"):
            raise TrainingError(f"schedule {self.schedule!r}; known: linear, cosine")


@dataclass(frozen=True)
class Progress:
    """What has been done: epochs and steps of all, and the mean loss of the epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


def fastest(home: torch.device) -> torch.device:
    """The GPU, if torch sees one, or else ``home``."""
    return torch.device("cuda") if torch.cuda.is_available() else home


def labels_only(settings: Settings) -> Objective:
    """Cross-entropy with the settings' label smoothing."""

    def losses(
        model: nn.Module, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        yield F.cross_entropy(model(images), labels, label_smoothing=settings.smoothing)

    return losses


def distilled(teacher: nn.Module, *, temperature: float = 4.0, weight: float = 0.9) -> Objective:
    """``nn.distillation_loss`` against ``teacher``, which goes to the model's device."""
    teacher.eval()

    def losses(
        model: nn.Module, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        with torch.no_grad():
            wanted = teacher.to(images.device)(images)
        yield distillation_loss(
            model(images), wanted, labels, temperature=temperature, weight=weight
        )

    return losses


def fit(
    model: nn.Module,
    data: Labelled,
    settings: Settings,
    *,
    objective: Objective | None = None,
    optimizers: Optimizers | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    threads: int = 1,
    workers: int = 0,
) -> None:
    """Train ``model`` in place; ends in eval mode, on the device it came from.

    ``objective`` is ``labels_only`` and ``optimizers`` Adam with the settings' schedule unless
    given. Where torch sees a GPU the model goes there, forward passes in mixed precision.
    ``progress`` is told after every step. ``checkpoint`` is written after every epoch and, if it is
    there, gone on from. ``threads`` are torch's, ``workers`` load images.

    Raises TrainingError for a loss, weights or statistics that are not finite, for a checkpoint of
    other settings, and if there are fewer images than a batch.
    """
    steps = len(data) // settings.batch
    if not steps:
        raise TrainingError(f"{len(data)} images are less than a batch of {settings.batch}")
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    device = fastest(home)
    model.to(device)
    optimizers = optimizers or _adam(model, settings, steps * settings.epochs)
    scaler = torch.amp.GradScaler(device.type) if device.type == "cuda" else None
    run = _Run(model, optimizers, scaler, objective or labels_only(settings), settings, device)
    try:
        first = run.resume(checkpoint)
        for epoch in range(first, settings.epochs):
            with deterministic(_seed(settings.seed, epoch), threads=threads):
                run.epoch(epoch, data, progress, workers)
            if checkpoint is not None:
                run.save(checkpoint, epoch + 1)
    finally:
        model.to(home).eval()


@dataclass(frozen=True)
class _Run:
    model: nn.Module
    optimizers: Optimizers
    scaler: "torch.amp.GradScaler | None"
    objective: Objective
    settings: Settings
    device: torch.device

    def epoch(
        self,
        epoch: int,
        data: Labelled,
        progress: Callable[[Progress], None] | None,
        workers: int,
    ) -> None:
        self.model.train()
        size, total = self.settings.batch, 0.0
        rng = np.random.default_rng(_seed(self.settings.seed, epoch))
        order = torch.randperm(len(data))[: len(data) // size * size]
        steps = len(order) // size
        for step, (images, labels) in enumerate(batches(data, size, order, workers=workers), 1):
            images = _moved(images.to(self.device), self.settings, rng)
            loss = self._step(images, labels.to(self.device), rng)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"epoch {epoch + 1}, step {step} of {steps}: the loss is {loss};"
                    " lower the learning rate or look at the data"
                )
            total += loss
            if progress is not None:
                done, every = epoch * steps + step, self.settings.epochs * steps
                progress(Progress(epoch, self.settings.epochs, done, every, total / step))
        # A sign hides what is not finite before it from the loss.
        for name, value in self.model.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise TrainingError(
                    f"epoch {epoch + 1}: {name} is no longer finite;"
                    " lower the learning rate or look at the data"
                )

    def _step(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
        """One update; the first loss, or the first that is not finite."""
        self.optimizers.zero_grad()
        shown: float | None = None
        losses = self.objective(self.model, images, labels, rng)
        while True:
            # Only the forward pass: it runs when the next loss is asked for.
            with torch.autocast(self.device.type, enabled=self.scaler is not None):
                loss = next(losses, None)
            if loss is None:
                break
            value = float(loss.detach())
            if not math.isfinite(value):
                return value
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
            shown = value if shown is None else shown
        self.optimizers.step(self.scaler)
        return math.nan if shown is None else shown

    def save(self, path: Path, epochs: int) -> None:
        state = {
            "settings": asdict(self.settings),
            "epochs": epochs,
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        replace_bytes(path, buffer.getvalue())

    def resume(self, path: Path | None) -> int:
        """Load the checkpoint, if there is one; the epochs it has seen."""
        if path is None or not path.is_file():
            return 0
        try:
            # Each puts its part on its device itself; Adam's counts of steps stay on the CPU.
            state = torch.load(path, map_location="cpu", weights_only=True)
            mine = asdict(self.settings)
            other = {k: v for k, v in state["settings"].items() if mine.get(k) != v}
            if other:
                raise TrainingError(f"{path} is of another run: {other}; remove it to start anew")
            self.model.load_state_dict(state["model"])
            self.optimizers.load_state_dict(state["optimizers"])
            if self.scaler is not None and state["scaler"] is not None:
                self.scaler.load_state_dict(state["scaler"])
            return int(state["epochs"])
        except TrainingError:
            raise
        except Exception as e:
            line = " ".join(str(e).split())[:200]
            raise TrainingError(f"{path} is no checkpoint of this training: {line}") from e


def _adam(model: nn.Module, settings: Settings, steps: int) -> Optimizers:
    optimizer = torch.optim.Adam(Parameters.of(model).groups(settings.weight_decay), lr=settings.lr)

    def factor(step: int) -> float:
        left = max(0.0, 1 - step / steps)
        return left if settings.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)

    return Optimizers((optimizer,), (LambdaLR(optimizer, factor),))


def _moved(images: Tensor, settings: Settings, rng: np.random.Generator) -> Tensor:
    if settings.shift:
        rows, columns = (int(v) for v in rng.integers(-settings.shift, settings.shift + 1, 2))
        images = torch.roll(images, (rows, columns), (2, 3))
    if settings.flip and rng.integers(2):
        images = images.flip(3)
    return images


def _seed(seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
