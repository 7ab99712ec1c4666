"""How many elements a padded average is of."""

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops


def averaged(expr: relax.Expr, pool: relax.Call) -> int:
    """What every number of elements that a padded average is of divides."""
    (_, *sizes, _), (_, *outputs, _) = ops.shape_of(pool.args[0]), ops.shape_of(expr)
    counts = [{1}, {1}]
    for axis in (0, 1):
        span, step, before = (
            int(v[axis]) for v in (pool.attrs.pool_size, pool.attrs.strides, pool.attrs.padding)
        )
        first = np.arange(outputs[axis]) * step - before
        inside = np.minimum(first + span, sizes[axis]) - np.maximum(first, 0)
        counts[axis] = set(np.maximum(inside, 1).tolist())
    return int(np.lcm.reduce([a * b for a in counts[0] for b in counts[1]]))
