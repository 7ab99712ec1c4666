"""Judges that worker processes can make."""

import os
import signal
import time
from dataclasses import dataclass

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
