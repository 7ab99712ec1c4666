"""Targets of which no machine was at hand: seconds from rough cycles.

A kernel takes the cycles that cost/features.py counts and those its bytes take, at the clock of the
board that the target is named for.
"""

import numpy as np

from bnn_compiler.errors import ScheduleError
from bnn_compiler.latency.features import KINDS, TERMS
from bnn_compiler.latency.regress import Regressor
from bnn_compiler.latency.spread import FACTS, Spread
from bnn_compiler.target import Gpu, Target

#: GHz of a board; cycles for each that features.py counts, of which an A53 issues half; bytes a
#: cycle from beyond L1; cycles of a call. With the second, Bi-Real-18 and ReActNet-A take within a
#: fifth of the milliseconds that llvm-mca predicts (README.md).
TABLE = {
    "cortex-a53": (1.4, 3.3, 2.0, 400.0),
    "cortex-a72": (1.5, 1.1, 4.0, 300.0),
    "cortex-a76": (2.4, 0.95, 8.0, 300.0),
    "neoverse-n1": (2.5, 0.95, 8.0, 300.0),
    "aarch64": (1.5, 1.1, 4.0, 300.0),
    "aarch64-android": (2.0, 1.1, 4.0, 300.0),
}
#: An interval of a factor of 1.5: nothing here was measured.
_WIDTH = float(np.log(1.5))


def of(target: Target) -> tuple[Regressor, Spread]:
    """What stands in for a measured model.

    Raises ScheduleError, naming ``bnnc calibrate``, for a target that is not in the table.
    """
    if target.name not in TABLE:
        kit = isinstance(target.hardware, Gpu)
        raise ScheduleError(
            f"there is no latency model of {target.name}; `bnnc calibrate --target {target.name}`"
            " on such a machine makes one"
            + (", or a kit that is measured there (--export-kit, --import-kit)" if kit else "")
        )
    clock, scale, bandwidth, call = TABLE[target.name]
    cycles = {
        "reduction": scale,
        "epilogue": scale,
        "tiles": 8 * scale,
        "rows": 0.0,
        "read": 1 / bandwidth,
        "tensors": 1 / bandwidth,
        "written": 1 / bandwidth,
        "weights": 1 / bandwidth,
        "call": call,
    }
    row = np.array([cycles[name] for name in TERMS]) * 1e-9 / clock
    coefficients = np.tile(row, (len(KINDS), 1))
    whole = tuple(float(name == "sum") for name in FACTS)
    scales = (_WIDTH, *(0.0 for _ in KINDS))
    return Regressor(coefficients, ()), Spread(whole, scales, 1.0)
