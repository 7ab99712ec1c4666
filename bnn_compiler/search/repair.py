"""Plans are moved into their budget, or up to it; they are not thrown away."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.search.budget import Bools, Prices
from bnn_compiler.search.costs import Float
from bnn_compiler.search.plans import Genes
from bnn_compiler.search.steps import furthest, grow

_UNKNOWN = -1
#: Factors by which a budget may be filled.
_FACTORS = 33


def fill(prices: Prices, genes: Genes, most: float = 4.0) -> Genes:
    """Each row times the largest factor from 1 to ``most`` by which it stays within the budget.

    Rows that are beyond it already stay as they are. Every factor is asked for: more channels can
    take less time, so that one which does not fit says nothing of a larger one.
    """
    best = genes
    for factor in np.geomspace(1, most, _FACTORS)[1:]:
        rows = prices.domain.scaled(genes, np.full(len(genes), factor))
        best = np.where(prices.fits(rows)[:, None], rows, best)
    return np.where(prices.fits(genes)[:, None], best, genes)


def uniform(prices: Prices) -> Genes:
    """[1, genes]: the full network times one factor, the largest that fits, then topped up.

    Where even the smallest factor does not fit, the result does not either.
    """
    factors = np.arange(1, 1001) / 1000
    rows = prices.domain.scaled(np.tile(prices.domain.last, (len(factors), 1)), factors)
    fits = prices.fits(rows)
    best = int(np.flatnonzero(fits)[-1]) if fits.any() else 0
    row = grow(prices, rows[best : best + 1])
    return _topped_up(prices, row) if fits.any() else row


def _topped_up(prices: Prices, row: Genes) -> Genes:
    """[1, genes]: what is left of the budget goes to the groups that are furthest behind, to each
    up to a quarter of its full count.

    Scaled by one factor, groups reach their next steps together, and a budget between two such
    steps would stay unused: no plan that uses it could be compared with the uniform one.
    """
    last = prices.domain.last
    for g in np.argsort(row[0] / np.maximum(last, 1), kind="stable"):
        room = min(last[g] - row[0, g], last[g] // 4)
        positions = row[0, g] + np.unique(np.linspace(0, room, min(room, 31) + 1).astype(int))
        tried = np.repeat(row, len(positions), axis=0)
        tried[:, g] = positions
        row = grow(prices, tried[np.flatnonzero(prices.fits(tried))[-1:]])
    return row


def repair(prices: Prices, genes: Genes) -> tuple[Genes, Bools]:
    """Drop, step by step, the channels whose removal saves most per channel, until a plan fits.

    Returns the rows and which of them fit: those that do not have nothing left to drop.
    """
    work = _Repair(prices, genes.copy(), np.full(genes.shape, _UNKNOWN))
    rows = np.flatnonzero(~prices.fits(work.genes))
    while rows.size:
        moved = work.drop(rows)
        rows = rows[moved]
        rows = rows[~prices.fits(work.genes[rows])]
    return work.genes, prices.fits(work.genes)


@dataclass
class _Repair:
    """Rows that lose channels; ``lower`` is where each gene's next lower step ends, if known."""

    prices: Prices
    genes: Genes
    lower: Genes

    def drop(self, rows: NDArray[np.int64]) -> Bools:
        """One step down of one gene in each of ``rows``; False where none saves anything."""
        slack = self.prices.slack
        gain = self._gains(rows, slack)
        for less in (slack, slack * 0):
            stale = gain.max(1) <= 0
            if stale.any():
                # Where a gene's steps are can depend on the others; then what is less than a step.
                self.lower[rows[stale]] = _UNKNOWN
                gain[stale] = self._gains(rows[stale], less)
        best = gain.argmax(1)
        moved: Bools = gain.max(1) > 0
        at, gene = rows[moved], best[moved]
        self.genes[at, gene] = self.lower[at, gene]
        self.lower[at, gene] = _UNKNOWN
        return moved

    def _gains(self, rows: NDArray[np.int64], slack: Float) -> Float:
        """[rows, genes]: what the next lower step saves per channel; 0 where there is none."""
        at, gene = np.nonzero(self.lower[rows] == _UNKNOWN)
        if at.size:
            self.lower[rows[at], gene] = self._lower_steps(rows[at], gene, slack)
        count, genes = len(rows), self.genes.shape[1]
        trial = np.repeat(self.genes[rows], genes, axis=0)
        every = np.tile(np.arange(genes), count)
        trial[np.arange(len(trial)), every] = self.lower[rows].reshape(-1)
        used = np.repeat(self.prices.used(self.genes[rows]), genes, axis=0)
        saved = _saving(used, self.prices.used(trial), slack).reshape(count, genes)
        dropped = self.genes[rows] - self.lower[rows]
        result: Float = np.where(dropped > 0, saved / np.maximum(dropped, 1), 0.0)
        return result

    def _lower_steps(
        self, rows: NDArray[np.int64], gene: NDArray[np.int64], slack: Float
    ) -> NDArray[np.int64]:
        """The first position below, on the way to 0, from which something is saved.

        Where nothing is saved on the way the position stays.
        """
        genes = self.genes[rows]
        used = self.prices.used(genes)

        def saves_nothing(asked: NDArray[np.int64], trial: Genes) -> Bools:
            result: Bools = _saving(used[asked], self.prices.used(trial), slack) <= 0
            return result

        here = genes[np.arange(len(rows)), gene]
        end = furthest(genes, gene, np.zeros(len(rows), np.int64), saves_nothing)
        return np.where(end > 0, end - 1, here)


def _saving(before: Float, after: Float, slack: Float) -> Float:
    """[rows]: by how much less of the exceeded budgets is used; negative if others are exceeded.

    A plan that is not legal saves nothing, nor does what is within the slack.
    """
    over = before > 1
    less = before - np.where(np.isfinite(after), after, before)
    saved = np.where(over & (np.abs(less) > slack * before), less, 0.0).sum(1)
    worse = np.where(over, 0.0, np.maximum(after - 1, 0.0)).sum(1)
    legal = np.isfinite(after).all(1)
    result: Float = np.where(legal, saved - np.where(legal, worse, 0.0), 0.0)
    return result


def settle(prices: Prices, genes: Genes, *, up_to_budget: bool = True) -> Genes:
    """Rows within the budget and on the steps; ``up_to_budget`` uses what is left of it.

    Rows that cannot be repaired are left out, so there may be fewer.
    """
    legal = np.isfinite(prices.used(genes)).all(1)
    fitting, fits = repair(prices, genes[legal])
    fitting = fitting[fits]
    return grow(prices, fill(prices, fitting) if up_to_budget else fitting)


def cheapest(prices: Prices) -> Genes:
    """[1, genes]: the smallest plan, then every single change that makes it cheaper still.

    The largest share of a budget is what counts. It is not always the fewest channels and the
    most groups: a model of time has its bumps, and small groups waste words.
    """
    domain = prices.domain
    best = np.zeros((1, len(domain.names)), np.int64)
    if not np.isfinite(prices.used(best)).all():
        best = domain.last[None]
    for _ in range(8):
        before = best
        for g, values in enumerate(domain.values):
            # Up to 64 positions, evenly.
            tried = np.unique(np.linspace(0, len(values) - 1, min(len(values), 64)).astype(int))
            rows = np.repeat(best, len(tried), axis=0)
            rows[:, g] = tried
            rows = np.concatenate([best, rows])
            best = rows[[int(np.argmin(prices.used(rows).max(1)))]]
        if (best == before).all():
            break
    return best
