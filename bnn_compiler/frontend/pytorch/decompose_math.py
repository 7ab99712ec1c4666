"""Functions and norms in terms of those that have a chain of their own (ops/functions.py)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _sinh(x: Tensor) -> Any:
    below = torch.expm1(x.abs())
    return x.sign() * (0.5 * (below + below / (below + 1.0)))


def _cosh(x: Tensor) -> Any:
    power = torch.exp(x.abs())
    return 0.5 * (power + 1.0 / power)


def _asinh(x: Tensor) -> Any:
    size, square = x.abs(), x * x
    return x.sign() * torch.log1p(size + square / (1.0 + torch.sqrt(1.0 + square)))


def _acosh(x: Tensor) -> Any:
    return torch.log(x + torch.sqrt(x * x - 1.0))


def _atanh(x: Tensor) -> Any:
    return 0.5 * torch.log1p(2.0 * x / (1.0 - x))


def _power(base: Any, exponent: Any) -> Any:
    """Of tensors; a negative base has whole exponents only."""
    if not isinstance(base, Tensor):
        base = torch.full((), float(base))
    size = torch.exp(exponent * torch.log(base.abs()))
    odd = torch.floor(exponent * 0.5) * 2.0 != exponent
    negative = torch.where(
        torch.floor(exponent) == exponent, torch.where(odd, -size, size), math.nan
    )
    return torch.where(exponent == 0.0, 1.0, torch.where(base < 0.0, negative, size))


def _remainder(a: Any, b: Any) -> Any:
    return a - torch.floor(torch.div(a, b)) * b


def _fmod(a: Tensor, b: Any) -> Any:
    return a - torch.trunc(a / b) * b


def _known(pairwise: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The other one where one is NaN."""

    def apply(a: Tensor, b: Tensor) -> Any:
        return torch.where(a == a, torch.where(b == b, pairwise(a, b), a), b)

    return apply


def _cosine_similarity(a: Tensor, b: Tensor, dim: int = 1, eps: float = 1e-8) -> Any:
    sizes = [torch.sqrt((x * x).sum(dim, keepdim=True)).clamp_min(eps) for x in (a, b)]
    return (a / sizes[0] * (b / sizes[1])).sum(dim)


def _cdist(a: Tensor, b: Tensor, p: float = 2.0, mode: int | None = None) -> Any:
    return torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1)


def _addbmm(x: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Any:
    return x * beta + (a @ b).sum(0) * alpha


def _bilinear(a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    found = torch.einsum("...i,oij,...j->...o", a, weight, b)
    return found if bias is None else found + bias


def _isclose(a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8) -> Any:
    return (a - b).abs() <= b.abs() * rtol + atol


def _xor(a: Tensor, b: Tensor) -> Any:
    if a.dtype != torch.bool or b.dtype != torch.bool:
        raise TypeError("bits of integers")
    return a != b


#: Operator -> what it is of others.
DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "sinh": _sinh,
    "cosh": _cosh,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "exp2": lambda x: torch.exp(x * math.log(2.0)),
    "log2": lambda x: torch.log(x) * (1.0 / math.log(2.0)),
    "log10": lambda x: torch.log(x) * (1.0 / math.log(10.0)),
    "erfc": lambda x: 1.0 - torch.erf(x),
    "pow": _power,
    "float_power": _power,
    "remainder": _remainder,
    "fmod": _fmod,
    "hypot": lambda a, b: torch.sqrt(a * a + b * b),
    "copysign": lambda a, b: a.abs() * (1.0 - 2.0 * (b < 0.0).float()),
    "signbit": lambda x: x < 0.0,
    "fmax": _known(torch.maximum),
    "fmin": _known(torch.minimum),
    "isclose": _isclose,
    **dict.fromkeys(("__xor__", "bitwise_xor", "logical_xor"), _xor),
    "cosine_similarity": _cosine_similarity,
    "cdist": _cdist,
    "addbmm": _addbmm,
    "bilinear": _bilinear,
}
