"""The converter of bags of embeddings, whose bounds are constant."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.convert_computed_index import check
from bnn_compiler.frontend.pytorch.convert_reduce import reduce
from bnn_compiler.frontend.value import Value

_SUM, _MEAN, _MAX = range(3)


def _embedding_bag(
    ctx: Context,
    table: Any,
    indices: Any,
    offsets: Any,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> list[Value]:
    """The first of its four results: [bags, C], sums, means or maxima of rows of a table."""
    bounds = ctx.constant(offsets)
    if bounds is None:
        raise ctx.fail("where its bags begin is computed at run time; constant offsets compile")
    if padding_idx is not None and padding_idx >= 0:
        raise ctx.fail("padding_idx depends on values; embed the tokens and mask their sum")
    check(ctx, int(table.meta["val"].shape[0]))
    count = int(indices.meta["val"].shape[0])
    first = [int(v) for v in bounds]
    ends = [*first[1:], count][: len(first) - include_last_offset]
    bags = list(zip(first, ends, strict=False))
    if any(end <= begin for begin, end in bags):
        raise ctx.fail("one of its bags is empty")
    rows = ctx.call("take", ctx.plain(table), ctx.plain(indices), params=(0,))
    if per_sample_weights is not None:
        weights = ctx.call("reshape", ctx.plain(per_sample_weights), params=((count, 1),))
        rows = ctx.call("mul", rows, weights)
    if mode == _MAX:
        found = ctx.call("take", rows, _places(bags), params=(0,))
        return [reduce(ctx, "reduce_max", found, (1,), False)]
    members = np.zeros((len(bags), count), np.float32)
    for bag, (begin, end) in enumerate(bags):
        members[bag, begin:end] = 1.0
    total = ctx.call("matmul", members, rows)
    if mode == _MEAN:
        sizes = np.array([[end - begin] for begin, end in bags], np.float32)
        total = ctx.call("div", total, sizes)
    return [total]


def _places(bags: Sequence[tuple[int, int]]) -> np.ndarray:
    """[bags, longest]: the members of each, the last again in shorter ones."""
    longest = max(end - begin for begin, end in bags)
    steps = np.arange(longest)
    return np.array([np.minimum(begin + steps, end - 1) for begin, end in bags], np.float32)


#: PyTorch operator -> converter of plain values.
BAGS: dict[str, Callable[..., Any]] = dict.fromkeys(
    ("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"), _embedding_bag
)
