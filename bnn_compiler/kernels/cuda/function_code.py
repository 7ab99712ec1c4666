"""Functions of one value as CUDA C."""

import math
from typing import Any

import numpy as np

from bnn_compiler.kernels.functions import Called, Text

_FORMS = {
    "name": "t{}",
    "fma": "float {name} = bnn_fma({}, {}, {});",
    "add": "float {name} = {} + {};",
    "sub": "float {name} = {} - {};",
    "div": "float {name} = {} / {};",
    "sqrt": "float {name} = sqrtf({});",
    "absolute": "float {name} = fabsf({});",
    "rounded": "float {name} = nearbyintf({});",
    "floor": "float {name} = floorf({});",
    "ceil": "float {name} = ceilf({});",
    "where": "float {name} = {} ? {} : {};",
    "less": "bool {name} = {} < {};",
    "equal": "bool {name} = {} == {};",
    "bits": "int32_t {name} = bnn_bits({});",
    "from_bits": "float {name} = bnn_from_bits({});",
    "to_float": "float {name} = (float){};",
    # Unsigned: of a value that is not used afterwards they may overflow.
    "plus": "int32_t {name} = (int32_t)((uint32_t){} + (uint32_t){});",
    "minus": "int32_t {name} = (int32_t)((uint32_t){} - (uint32_t){});",
    "left": "int32_t {name} = (int32_t)((uint32_t){} << {});",
    "right": "int32_t {name} = {} >> {};",
}


class _Cuda(Text):
    """Scalars of one thread."""

    def float(self, a: Any) -> str:
        """A number in hexadecimal."""
        if isinstance(a, str):
            return a
        if math.isnan(a):
            return "(CUDART_INF_F - CUDART_INF_F)"
        if math.isinf(a):
            return "CUDART_INF_F" if a > 0 else "-CUDART_INF_F"
        return f"{float(np.float32(a)).hex()}f"

    def int(self, a: Any) -> str:
        """An integer in decimal."""
        return str(a)


def definition(called: Called) -> str:
    """The function, to stand before the kernels that call it."""
    text = _Cuda(_FORMS)
    result = called.write(text, "x")
    lines = "\n".join(f"  {line}" for line in text.lines)
    return f"BNN_DEVICE float {called.symbol}(float x) {{\n{lines}\n  return {result};\n}}\n"
