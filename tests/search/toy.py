"""A network that is only numbers: the staircase's time, bytes, and an accuracy by formula."""

import math
from itertools import pairwise

import numpy as np

from bnn_compiler.search.budget import Budget, Limit, Prices
from bnn_compiler.search.plans import Domain, key

FULL = {"stem": 32, "a": 64, "b": 128, "c": 128, "d": 256}
#: Output pixels of the layer that makes each group.
PIXELS = {"stem": 256, "a": 256, "b": 64, "c": 64, "d": 16}


def seconds(plan):
    """Words of 32 in, vectors of 16 out."""
    time, inputs = 0.0, 1
    for name, pixels in PIXELS.items():
        vectors = math.ceil(plan[name] / 16)
        time += pixels * 9 * inputs * vectors + 3 * pixels * vectors
        inputs = math.ceil(plan[name] / 32)
    return time * 1e-9


def size(plan):
    """Every channel counts, so nothing is free."""
    counts = [1, *(plan[n] for n in FULL)]
    return float(sum(a * b for a, b in pairwise(counts)))


class Formula:
    """Costs by a function of one plan; ``asked`` counts the plans."""

    def __init__(self, name, unit, function):
        self.name, self.unit, self.function, self.asked = name, unit, function, 0

    def of(self, plans):
        self.asked += len(plans)
        return np.array([self.function(p) for p in plans], np.float64)


def prices(time=None, bytes_=None, domain=None):
    """Within seconds, within bytes, or both."""
    limits = []
    if time is not None:
        limits.append(Limit(Budget("s", time, f"{time}s"), Formula("time", "s", seconds)))
    if bytes_ is not None:
        limits.append(Limit(Budget("B", bytes_, f"{bytes_}B"), Formula("weights", "B", size)))
    return Prices(domain or Domain.of(FULL), tuple(limits))


def accuracy(plan, seed):
    """Concave in each group's share, with a little noise by the candidate's seed."""
    weights = {"stem": 0.1, "a": 0.15, "b": 0.3, "c": 0.15, "d": 0.3}
    value = sum(w * (plan[n] / FULL[n]) ** 0.4 for n, w in weights.items())
    return 0.9 * value + 0.002 * np.random.default_rng(seed).random()


def clumsy(plan, seed):
    """Fails in every way it can, by the plan."""
    kind = sum(key(plan).encode()) % 9
    if kind == 0:
        raise MemoryError
    if kind == 1:
        return math.nan
    if kind == 2:
        raise ValueError("no such layer")
    return accuracy(plan, seed)
