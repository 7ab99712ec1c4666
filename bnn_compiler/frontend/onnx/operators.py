"""The table of ONNX operators that can be compiled, by domain and name."""

import difflib
from collections.abc import Callable
from typing import Any

from bnn_compiler.frontend.onnx import (
    activations,
    arithmetic,
    constants,
    convolution,
    normalization,
    pooling,
    qonnx,
    qoperator,
    quantization,
    reduction,
    resize,
    shape,
)

Handler = Callable[..., Any]

#: Of ONNX itself.
ONNX: dict[str, Handler] = {
    **arithmetic.OPERATORS,
    **activations.OPERATORS,
    **convolution.OPERATORS,
    **pooling.OPERATORS,
    **reduction.OPERATORS,
    **shape.OPERATORS,
    **resize.OPERATORS,
    **normalization.OPERATORS,
    **constants.OPERATORS,
    **quantization.OPERATORS,
    **qoperator.OPERATORS,
}
#: Domain -> its operators; "" and "ai.onnx" are ONNX.
DOMAINS: dict[str, dict[str, Handler]] = {
    "": ONNX,
    "ai.onnx": ONNX,
    "com.microsoft": qoperator.MICROSOFT,
    **dict.fromkeys(qonnx.DOMAINS, qonnx.OPERATORS),
}
#: Why some cannot be.
_REFUSED = {
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN"), "a recurrent layer; write its steps as products and functions"
    ),
    **dict.fromkeys(
        ("If", "Loop", "Scan"), "a branch or loop at run time; export with it unrolled or decided"
    ),
    "DynamicQuantizeLinear": "its range is computed at run time; quantise statically",
    **dict.fromkeys(
        ("NonZero", "NonMaxSuppression", "Unique", "Compress"),
        "the shape of its result depends on the values of its input",
    ),
    **dict.fromkeys(
        ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"),
        "it draws random numbers; a compiled network gives the same result for the same input",
    ),
}
#: How many an error names.
_FEW = 3


def find(domain: str, operator: str) -> Handler | None:
    """The translation of an operator; None if there is none."""
    return DOMAINS.get(domain, {}).get(operator)


def why_not(domain: str, operator: str) -> str:
    """What an error says of an operator that has none, with those of the nearest names."""
    if operator in _REFUSED and domain in ("", "ai.onnx"):
        return _REFUSED[operator]
    near = difflib.get_close_matches(operator, names(), _FEW, 0.5)
    like = f"; nearest in name: {', '.join(near)}" if near else ""
    return f"this operator cannot be compiled{like} (bnnc check --operators lists those that can)"


def names() -> list[str]:
    """All of them, in any domain."""
    return sorted({name for table in DOMAINS.values() for name in table})
