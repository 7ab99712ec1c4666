"""The staircase: channels between two steps of the hardware cost the same, so plans stand on steps.

Nothing here knows where the steps are. They are found by asking for costs, a batch at a time, by
doubling the distance and then halving the gap.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.search.budget import Bools, Prices
from bnn_compiler.search.costs import Float
from bnn_compiler.search.plans import Genes

#: (which of the rows are asked for, their genes) -> bool [of those].
Test = Callable[[NDArray[np.int64], Genes], Bools]


def furthest(genes: Genes, gene: NDArray[np.int64], ends: NDArray[np.int64], good: Test) -> Genes:
    """[rows]: the position nearest to ``ends`` that is reached through good ones.

    Row i moves its gene ``gene[i]`` from where it is towards ``ends[i]``; where it is, is good.
    """
    at = np.arange(len(genes))
    low = genes[at, gene].copy()
    way = np.sign(ends - low)
    bad = ends + way  # not known to be good
    step = np.ones_like(low)
    while (open_ := np.flatnonzero(np.abs(bad - low) > 1)).size:
        gap = np.abs(bad - low)[open_]
        doubling = bad[open_] == (ends + way)[open_]
        reach = np.where(doubling, np.minimum(step[open_], gap - 1), gap // 2)
        probe = low[open_] + way[open_] * reach
        trial = genes[open_].copy()
        trial[np.arange(len(open_)), gene[open_]] = probe
        free = good(open_, trial)
        low[open_] = np.where(free, probe, low[open_])
        bad[open_] = np.where(free, bad[open_], probe)
        step[open_] *= 2
    return low


def grow(prices: Prices, genes: Genes) -> Genes:
    """Every gene at the end of its step: no cost is higher than before, but for the slack.

    What keeps its budgets keeps them.
    """
    genes = genes.copy()
    last = prices.domain.last
    for g in range(genes.shape[1]):
        used = prices.used(genes)
        most = np.maximum(used, np.minimum(used * (1 + prices.slack), 1.0))

        def no_dearer(rows: NDArray[np.int64], trial: Genes, most: Float = most) -> Bools:
            result: Bools = np.logical_and.reduce(prices.used(trial) <= most[rows], axis=1)
            return result

        column = np.full(len(genes), g)
        genes[:, g] = furthest(genes, column, np.full(len(genes), last[g]), no_dearer)
    return genes
