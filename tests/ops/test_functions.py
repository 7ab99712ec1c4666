"""Functions of one value: as near to the true one as is said, at every exponent."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnn_compiler.ops.functions import FUNCTIONS, evaluate


def sample(each=40):
    """Floats of every exponent and both signs, special ones, and many where functions bend."""
    rng = np.random.default_rng(0)
    mantissas = rng.integers(0, 1 << 23, (255, each), np.uint32)
    mantissas[:, :3] = 0, 1, (1 << 23) - 1
    bits = (np.arange(255, dtype=np.uint32)[:, None] << 23) | mantissas
    x = bits.ravel().view(np.float32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    return np.concatenate([x, -x, np.linspace(-20, 20, 20001, dtype=np.float32), special])


X = sample()
EXACT = torch.from_numpy(X.astype(np.float64))


def ulps(found, exact):
    """The distance in units of the last place; 0 for equal infinities and NaNs."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        unit = np.maximum(2.0 ** (np.floor(np.log2(np.abs(exact))) - 23), 2.0**-149)
        distance = np.abs(found - exact) / unit
    same = (found == rounded) | (np.isnan(found) & np.isnan(exact))
    return np.where(same, 0, np.where(np.isfinite(rounded) & np.isfinite(found), distance, np.inf))


PRIMITIVES = (
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "exp2", "log2", "log10", "erfc"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh"),
)
ANGLES = ("sin", "cos", "tan")


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_are_within_two_ulps(name):
    exact = getattr(torch, name)(EXACT).numpy()
    if name in ANGLES:
        exact = np.where(np.abs(X) < 2.0**22, exact, np.nan)
    distance = ulps(evaluate(name, X), exact)
    assert distance.max() < 2, X[distance.argmax()]


@pytest.mark.parametrize("name", ANGLES)
def test_angles_near_zeros_of_theirs_are_within_two_ulps(name):
    # The float32 next to multiples of pi / 2, up to the largest angle.
    n = np.concatenate([np.arange(1, 4000), np.geomspace(4000, 2.67e6, 20000).astype(int)])
    x = (n * (np.pi / 2)).astype(np.float32)
    exact = getattr(torch, name)(torch.from_numpy(x.astype(np.float64))).numpy()
    distance = ulps(evaluate(name, x), exact)
    assert distance.max() < 2, x[distance.argmax()]


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 7, 0.5, 1.5, 2.2, -1.7, 1 / 3, 65, 100])
def test_powers(exponent):
    with np.errstate(all="ignore"):
        exact = np.power(X.astype(np.float64), float(np.float32(exponent)))
    if exponent == 0.5:
        exact[np.isneginf(X)] = np.nan
    limit = {7: 4.5, 3: 2, -2: 2, 65: 5, 100: 6}.get(exponent, 1.3)
    distance = ulps(evaluate("power", X, (exponent,)), exact)
    assert distance.max() < limit, X[distance.argmax()]


def levels(x):
    return torch.clamp(torch.round(x * 12.5) + 3, -128, 127)


SELU = (1.6732632423543772 * 1.0507009873554805, 1.0507009873554805, 1.0)
LIKE_TORCH = [
    ("sqrt", (), torch.sqrt),
    ("rsqrt", (), torch.rsqrt),
    ("reciprocal", (), torch.reciprocal),
    ("square", (), torch.square),
    ("abs", (), torch.abs),
    ("negative", (), torch.neg),
    ("round", (), torch.round),
    ("floor", (), torch.floor),
    ("ceil", (), torch.ceil),
    ("trunc", (), torch.trunc),
    ("silu", (), F.silu),
    ("gelu", (), F.gelu),
    ("gelu_tanh", (), lambda x: F.gelu(x, approximate="tanh")),
    ("mish", (), F.mish),
    ("softplus", (1.0, 20.0), F.softplus),
    ("softplus", (2.0, 10.0), lambda x: F.softplus(x, 2, 10)),
    ("log_sigmoid", (), F.logsigmoid),
    ("elu", (0.7, 1.0, 1.0), lambda x: F.elu(x, 0.7)),
    ("elu", (0.7, 1.0, 1 / 0.7), lambda x: F.celu(x, 0.7)),
    ("elu", SELU, F.selu),
    ("softsign", (), F.softsign),
    ("hard_sigmoid", (), F.hardsigmoid),
    ("hard_swish", (), F.hardswish),
    ("threshold", (0.3, 7.0), lambda x: F.threshold(x, 0.3, 7.0)),
    ("softshrink", (0.5,), F.softshrink),
    ("hardshrink", (0.5,), F.hardshrink),
    ("tanhshrink", (), F.tanhshrink),
    ("quantize", (12.5, 3.0, -128.0, 127.0), levels),
    ("fake_quantize", (12.5, 3.0, -128.0, 127.0, 0.08), lambda x: (levels(x) - 3) * 0.08),
]


@pytest.mark.parametrize(
    ("name", "params", "torch_function"), LIKE_TORCH, ids=[f"{n}{p}" for n, p, _ in LIKE_TORCH]
)
def test_the_others_are_pytorchs(name, params, torch_function):
    # With AVX-512 PyTorch's gelu of the largest numbers is infinite, that of infinity NaN.
    x = X[~(np.abs(X) > 1e38)] if name == "gelu" else X
    found, wanted = evaluate(name, x, params), torch_function(torch.from_numpy(x)).numpy()
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    number = np.isfinite(wanted)
    assert np.array_equal(found[~number & ~np.isnan(wanted)], wanted[~number & ~np.isnan(wanted)])
    # Where a small result is the difference of larger numbers, PyTorch's digits are no better.
    # With AVX-512 those of its gelu are fewer: 181 of these numbers are further from float64's.
    cancelled = {"gelu": 3.0, "gelu_tanh": 1.0, "tanhshrink": 1.0}.get(name)
    least = 1e-7 * cancelled * np.minimum(np.abs(x[number]), 4) if cancelled else 1e-36
    error = np.abs(found[number] - wanted[number])
    assert np.all(error <= 5e-7 * np.abs(wanted[number]) + least)


def test_every_function_is_tested():
    assert {*PRIMITIVES, "power"} | {name for name, *_ in LIKE_TORCH} == set(FUNCTIONS)


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.falls is not None])
def test_monotone_functions_are_in_every_bit(name):
    params = next(p for n, p, _ in LIKE_TORCH if n == name)
    x = np.sort(X[~np.isnan(X)])
    y = evaluate(name, x, params)
    y = y[~np.isnan(y)]
    steps = y[1:] >= y[:-1]
    assert np.all(~steps | (y[1:] == y[:-1]) if FUNCTIONS[name].falls else steps)


def test_a_parameter_is_a_float32():
    assert evaluate("hardshrink", np.float32([0.1]), (0.1,)) == 0
    assert math.isnan(evaluate("power", np.float32([-2.0]), (0.3,))[0])
