"""Budgets: "2.5ms", "300MFLOPs", "4.2MB", several at once, and whether plans keep them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import SearchError
from bnn_compiler.search.costs import Costs, Float
from bnn_compiler.search.plans import Domain, Genes, Plan, key

Bools = NDArray[np.bool_]
#: What may be written behind the number -> (unit, factor).
_UNITS: dict[str, tuple[str, float]] = {
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "µs": ("s", 1e-6),
    "ns": ("s", 1e-9),
    "B": ("B", 1.0),
    "kB": ("B", 1e3),
    "MB": ("B", 1e6),
    "GB": ("B", 1e9),
    "KiB": ("B", 2.0**10),
    "MiB": ("B", 2.0**20),
    "GiB": ("B", 2.0**30),
    **{
        prefix + unit: (unit, factor)
        for unit in ("FLOPs", "BOPs", "OPs")
        for prefix, factor in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))
    },
}
#: For a reader: unit -> (what is shown, factor), the largest that leaves at least 1.
_SHOWN = {
    "s": (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)),
    "B": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)),
}
#: Share of a time that is none, a hundredth of what can be measured: a model's steps slope.
_SLACK = 2e-4
#: Plans whose costs are remembered.
_MOST = 200_000


@dataclass(frozen=True)
class Budget:
    """At most ``limit`` of ``unit``: "s", "B", "FLOPs", "BOPs" or "OPs"."""

    unit: str
    limit: float
    text: str

    @staticmethod
    def parse(text: str) -> "Budget":
        """Raises SearchError for anything but a positive number and a known unit."""
        found = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ]+)\s*", text)
        try:
            number = float(found[1]) if found else 0.0
        except ValueError:
            number = 0.0
        unit = _unit(found[2]) if found else None
        if unit is None or not 0 < number < float("inf"):
            raise SearchError(
                f"budget {text!r}: give a positive number and a unit, e.g. 2.5ms, 800us,"
                " 300MFLOPs, 2GBOPs, 90MOPs, 4.2MB"
            )
        name, factor = unit
        return Budget(name, number * factor, text.strip())


def _unit(text: str) -> tuple[str, float] | None:
    """As written, else in any case where that names just one."""
    fitting = {v for k, v in _UNITS.items() if k.lower() == text.lower()}
    return _UNITS.get(text) or (fitting.pop() if len(fitting) == 1 else None)


def shown(value: float, unit: str) -> str:
    """A cost for a reader, e.g. "2.41 ms"."""
    scales = _SHOWN.get(unit) or tuple(
        (prefix + unit, f) for prefix, f in (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
    )
    name, factor = next((s for s in scales if abs(value) >= s[1]), scales[-1])
    return f"{value / factor:.4g} {name}"


@dataclass(frozen=True)
class Limit:
    """A budget and the costs that are held against it.

    ``factor`` corrects the costs: what was measured over what was predicted, once that is known.
    """

    budget: Budget
    costs: Costs
    factor: float = 1.0

    def of(self, plans: Sequence[Plan]) -> Float:
        """The corrected costs, float64 [plans]."""
        return self.costs.of(plans) * self.factor


def limits_of(budgets: Sequence[Budget], costs: Mapping[str, Costs]) -> tuple[Limit, ...]:
    """A limit for each budget; ``costs`` by unit. Raises SearchError for none, or two of a unit."""
    if not budgets:
        raise SearchError("a search needs a budget, e.g. --budget 2.5ms")
    units = [b.unit for b in budgets]
    for budget in budgets:
        if units.count(budget.unit) > 1:
            raise SearchError(f"two budgets in {budget.unit}: give the smaller one only")
        if budget.unit not in costs:
            raise SearchError(
                f"budget {budget.text}: nothing here predicts {budget.unit};"
                f" there are {', '.join(sorted(costs))}"
            )
    return tuple(Limit(b, costs[b.unit]) for b in budgets)


@dataclass(frozen=True)
class Prices:
    """What rows of genes cost as shares of every budget; asked for once, then remembered."""

    domain: Domain
    limits: tuple[Limit, ...]
    _known: dict[bytes, Float] = field(default_factory=dict, repr=False, compare=False)

    def used(self, genes: Genes) -> Float:
        """float64 [plans, limits]: 1 is the whole budget, inf a plan that is not legal."""
        factors = np.array([x.factor / x.budget.limit for x in self.limits])
        shares: Float = self._raw(genes) * factors
        return shares

    @property
    def slack(self) -> Float:
        """float64 [limits]: the share of a cost that counts as nothing; 0 of what is counted."""
        return np.array([_SLACK if x.budget.unit == "s" else 0.0 for x in self.limits])

    def fits(self, genes: Genes) -> Bools:
        """bool [plans]: within every budget."""
        result: Bools = np.logical_and.reduce(self.used(genes) <= 1, axis=1)
        return result

    def corrected(self, factor: float) -> "Prices":
        """The same with times ``factor`` of what the model says; what is known stays known."""
        limits = tuple(
            replace(x, factor=factor) if x.budget.unit == "s" else x for x in self.limits
        )
        return replace(self, limits=limits)

    def _raw(self, genes: Genes) -> Float:
        rows = [row.tobytes() for row in genes]
        new = {row: i for i, row in enumerate(rows) if row not in self._known}
        found = {row: self._known[row] for row in rows if row in self._known}
        if new:
            plans = self.domain.plans(genes[list(new.values())])
            fresh = dict(zip(new, self._ask(plans), strict=True))
            if len(self._known) + len(fresh) > _MOST:
                self._known.clear()
            self._known.update(fresh)
            found.update(fresh)
        return np.array([found[row] for row in rows]).reshape(len(rows), len(self.limits))

    def _ask(self, plans: Sequence[Plan]) -> Float:
        result = np.full((len(plans), len(self.limits)), np.inf)
        legal = np.array([self.domain.legal(p) for p in plans])
        if legal.any():
            asked = [p for p, good in zip(plans, legal, strict=True) if good]
            result[legal] = np.stack([x.costs.of(asked) for x in self.limits], 1)
            if not np.isfinite(result[legal]).all():
                bad = asked[int(np.argmin(np.isfinite(result[legal]).all(1)))]
                raise SearchError(f"the costs of the plan {key(bad)} are no numbers")
        return result
