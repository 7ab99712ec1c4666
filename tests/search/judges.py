"""Judges that worker processes can make."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.search import toy


def good(stage):
    return toy.accuracy


def clumsy(stage):
    return toy.clumsy


def broken(stage):
    raise ValueError("no such file")


def threads(stage):
    import torch

    return lambda plan, seed: torch.get_num_threads()


def named(stage):
    """Of each stage another."""
    return lambda plan, seed: {"a": 0.25, "b": 0.5}[stage]


@dataclass(frozen=True)
class Deadly:
    """Kills its process on plans of ``channels`` channels in "d", ends it on one more."""

    channels: int

    def __call__(self, stage):
        def evaluate(plan, seed):
            if plan["d"] == self.channels:
                os.kill(os.getpid(), signal.SIGKILL)
            if plan["d"] == self.channels + 1:
                os._exit(3)
            return toy.accuracy(plan, seed)

        return evaluate


def uneven(stage):
    """Slower for some plans, so that the answers come out of order."""

    def evaluate(plan, seed):
        time.sleep(0.02 * (seed % 3))
        return toy.accuracy(plan, seed)

    return evaluate


@dataclass(frozen=True)
class Fragile:
    """Kills its process on plans of ``channels`` in "d", ``times`` in all, as ``marks`` count."""

    channels: int
    marks: Path
    times: int

    def __call__(self, stage):
        def evaluate(plan, seed):
            # So that the others have something under way.
            time.sleep(0.02)
            seen = len(list(self.marks.iterdir()))
            if plan["d"] == self.channels and seen < self.times:
                (self.marks / str(seen)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return toy.accuracy(plan, seed)

        return evaluate


@dataclass(frozen=True)
class Packed:
    """Judges by a file of the stage's; leaves one for each candidate. ``packings`` counts here."""

    folder: Path
    packings: list = field(default_factory=list)

    def at(self, folder):
        return Packed(folder)

    def packed(self, stage):
        self.packings.append(stage)
        return {"shift": stage.encode()}

    def left(self, stage, plan, seed):
        return [f"weights/{seed}"]

    def __call__(self, stage):
        shift = float((self.folder / "shift").read_text())

        def evaluate(plan, seed):
            (self.folder / "weights").mkdir(exist_ok=True)
            (self.folder / "weights" / str(seed)).write_text(str(plan["d"]))
            return toy.accuracy(plan, seed) + shift

        return evaluate
