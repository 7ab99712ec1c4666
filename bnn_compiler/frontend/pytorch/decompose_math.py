"""Functions and norms in terms of those that have a chain of their own (ops/functions.py)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _asinh(x: Tensor) -> Any:
    size, inverse = x.abs(), 1.0 / x.abs()
    return x.sign() * torch.log1p(size + size / (inverse + torch.sqrt(inverse * inverse + 1.0)))


def _acosh(x: Tensor) -> Any:
    above = x - 1.0
    return torch.log1p(above + torch.sqrt(above) * torch.sqrt(above + 2.0))


def _atanh(x: Tensor) -> Any:
    size = x.abs()
    return x.sign() * (0.5 * torch.log1p(2.0 * size / (1.0 - size)))


def _atan2(y: Any, x: Any) -> Any:
    """By the smaller over the larger, which is 1 for two infinities and 0 for two zeros."""
    across, along = y.abs(), x.abs()
    least, most = torch.minimum(across, along), torch.maximum(across, along)
    small = torch.where(least == most, (most != 0.0).float(), least / most)
    turned = torch.where(across > along, math.pi / 2 - torch.atan(small), torch.atan(small))
    whole = torch.where(x < 0.0, math.pi - turned, turned)
    return torch.where(y < 0.0, -whole, torch.where((x == x) & (y == y), whole, x + y))


#: Polynomials of Giles, "Approximating the erfinv function" (2012), from the highest power on.
_ERFINV_MIDDLE = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 2.1858087e-04),
    *(-1.25372503e-03, -4.17768164e-03, 0.246640727, 1.50140941),
)
_ERFINV_TAIL = (
    *(-2.00214257e-04, 1.00950558e-04, 1.34934322e-03, -3.67342844e-03, 5.73950773e-03),
    *(-7.6224613e-03, 9.43887047e-03, 1.00167406, 2.83297682),
)


def _erfinv(x: Tensor) -> Any:
    far = -torch.log1p(-x * x)
    middle, tail = far - 2.5, torch.sqrt(far) - 3.0
    parts = []
    for at, coefficients in ((middle, _ERFINV_MIDDLE), (tail, _ERFINV_TAIL)):
        found: Any = coefficients[0]
        for c in coefficients[1:]:
            found = found * at + c
        parts.append(found * x)
    found = torch.where(far < 5.0, parts[0], parts[1])
    return torch.where(x.abs() == 1.0, x * math.inf, found)


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
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "atan2": _atan2,
    "erfinv": _erfinv,
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
