"""Operators that PyTorch does not write in simpler ones, or in ones that cost more."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from bnn_compiler.frontend.pytorch import decompose_math, decompose_scans, decompose_sort, resample
from bnn_compiler.frontend.pytorch.moves import summed


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = (q @ k.transpose(-2, -1)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is None:
        return torch.softmax(scores, -1) @ v
    if attn_mask.dtype != torch.bool:
        return torch.softmax(scores + attn_mask, -1) @ v
    # A query that may look nowhere finds 0.
    weights = torch.softmax(torch.where(attn_mask, scores, -math.inf), -1)
    return torch.where(attn_mask.any(-1, keepdim=True), weights, 0.0) @ v


def _einsum(equation: str, operands: Sequence[Tensor], path: Any = None) -> Any:
    """A product of every pixel's or token's features with a matrix is a linear layer of them.

    Any other is left to PyTorch, which permutes its operands into a batch of matrix products.
    """
    inputs, _, result = equation.replace(" ", "").partition("->")
    names = inputs.split(",")
    for x, w in ((0, 1), (1, 0)) if len(operands) == 2 and result else ():
        summed_ = [c for c in names[x] if c not in result]
        rest = [c for c in names[x] if c in result]
        if len(names[w]) != 2 or len(summed_) != 1 or "." in inputs:
            continue
        (feature,) = summed_
        (made,) = set(names[w]) - {feature} or {feature}
        whole = sorted(result) == sorted([*rest, made]) and made not in rest
        if feature not in names[w] or not whole or len(set(names[x])) != len(names[x]):
            continue
        matrix = operands[w] if names[w][1] == feature else operands[w].t()
        last = operands[x].permute([names[x].index(c) for c in (*rest, feature)])
        found = F.linear(last, matrix)
        return found.permute([(*rest, made).index(c) for c in result])
    raise NotImplementedError(equation)


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Any:
    axes = list(range(-len(shape), 0))
    small = torch.finfo(x.dtype).eps if eps is None else eps
    found = x * torch.rsqrt((x * x).mean(axes, keepdim=True) + small)
    return found if weight is None else found * weight


# ---- pools of rows and of volumes, by pools of images

Pool = Callable[[Tensor, Callable[[Any, int], list[int]], bool], Any]


def _volume(x: Any, pool: Pool) -> Any:
    """``pool`` over height and width, then over depth.

    It is given an image, what makes sizes of the operator's argument and its neutral number those
    of the image, and whether the image is a plane.
    """

    def triple(value: Any) -> list[int]:
        numbers = list(value) if isinstance(value, list | tuple) else [value]
        return numbers * 3 if len(numbers) == 1 else numbers

    planes = pool(x.flatten(-4, -3), lambda value, _: triple(value)[1:], True)
    planes = planes.unflatten(-3, x.shape[-4:-2])
    depth = pool(planes.flatten(-2, -1), lambda value, none: [triple(value)[0], none], False)
    return depth.unflatten(-1, planes.shape[-2:])


def _max_pool3d(
    x: Tensor,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    return _volume(
        x,
        lambda image, of, _: F.max_pool2d(
            image,
            of(kernel, 1),
            of(stride or kernel, 1),
            of(padding, 0),
            of(dilation, 1),
            ceil_mode,
        ),
    )


def _max_pool3d_with_indices(x: Tensor, *args: Any) -> tuple[Tensor]:
    return (_max_pool3d(x, *args),)


def _avg_pool3d(
    x: Tensor,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    def pool(image: Tensor, of: Callable[[Any, int], list[int]], is_plane: bool) -> Any:
        divisor = divisor_override if is_plane or divisor_override is None else 1
        sizes = of(kernel, 1), of(stride or kernel, 1), of(padding, 0)
        return F.avg_pool2d(image, *sizes, ceil_mode, count_include_pad, divisor)

    return _volume(x, pool)


def _adaptive(pool: Callable[..., Any]) -> Callable[..., Any]:
    """An adaptive pool of rows or of volumes, by ``pool`` of images."""

    def apply(x: Any, size: list[int]) -> Any:
        if len(size) == 1:
            return pool(x.unsqueeze(-2), [1, *size]).squeeze(-2)
        depth, *plane = (n if s is None else s for s, n in zip(size, x.shape[-3:], strict=True))
        planes = pool(x.flatten(-4, -3), plane).unflatten(-3, x.shape[-4:-2])
        return pool(planes.flatten(-2, -1), [depth, math.prod(plane)]).unflatten(-1, plane)

    return apply


def _adaptive_max(x: Tensor, size: list[int]) -> tuple[Tensor]:
    return (_adaptive(F.adaptive_max_pool2d)(x, size),)


# ---- windows as columns


def _fold(
    x: Tensor,
    size: list[int],
    kernel: list[int],
    dilation: list[int],
    padding: list[int],
    stride: list[int],
) -> Any:
    """col2im: each place is the sum of what columns hold of it."""
    channels = x.shape[-2] // math.prod(kernel)
    with _disable_current_modes():
        places = torch.arange(1.0, 1 + math.prod(size), dtype=torch.float64).reshape(1, 1, *size)
        at = F.unfold(places, *map(tuple, (kernel, dilation, padding, stride)))[0].long()
    images = x.reshape(-1, at.numel())
    return summed(images, at, size).reshape(*x.shape[:-2], channels, *size)


def _unfold(x: Any, dim: int, size: int, step: int) -> Any:
    axis = dim % x.dim()
    count = (x.shape[axis] - size) // step + 1
    with _disable_current_modes():
        at = (torch.arange(count)[:, None] * step + torch.arange(size)).reshape(-1)
    return x.index_select(axis, at).unflatten(axis, (count, size)).movedim(axis + 1, -1)


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    *_: bool,
) -> Any:
    """The operator that a user's program calls."""
    dims = weight.dim() - 2
    if transposed:
        call = getattr(F, f"conv_transpose{dims}d")
        return call(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return getattr(F, f"conv{dims}d")(x, weight, bias, stride, padding, dilation, groups)


# ---- sums of elements


def _trace(x: Tensor) -> Any:
    return x.diagonal().sum()


def _nansum(x: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return torch.where(x == x, x, 0.0).sum(dim, keepdim)


# ---- cells of recurrent layers


def _gates(x: Tensor, state: Tensor, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
    w, u, b, c = (*weights, None, None)[:4]
    return F.linear(x, w, b), F.linear(state, u, c)  # type: ignore[arg-type]


def _rnn_cell(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def apply(x: Tensor, state: Tensor, *weights: Tensor | None) -> Any:
        given, kept = _gates(x, state, *weights)
        return function(given + kept)

    return apply


def _lstm_cell(
    x: Tensor, states: Sequence[Tensor], *weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    given, kept = _gates(x, states[0], *weights)
    enter, forget, cell, leave = (given + kept).chunk(4, 1)
    memory = forget.sigmoid() * states[1] + enter.sigmoid() * cell.tanh()
    return leave.sigmoid() * memory.tanh(), memory


def _gru_cell(x: Tensor, state: Tensor, *weights: Tensor | None) -> Any:
    given, kept = (gates.chunk(3, 1) for gates in _gates(x, state, *weights))
    reset = (given[0] + kept[0]).sigmoid()
    update = (given[1] + kept[1]).sigmoid()
    new = (given[2] + reset * kept[2]).tanh()
    return new + update * (state - new)


#: Operator -> what it is of others.
DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "rms_norm": _rms_norm,
    "max_pool3d": _max_pool3d,
    "max_pool3d_with_indices": _max_pool3d_with_indices,
    "avg_pool3d": _avg_pool3d,
    "adaptive_avg_pool1d": _adaptive(F.adaptive_avg_pool2d),
    "adaptive_avg_pool3d": _adaptive(F.adaptive_avg_pool2d),
    "adaptive_max_pool1d": _adaptive_max,
    "adaptive_max_pool3d": _adaptive_max,
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    "col2im": _fold,
    "unfold": _unfold,
    "copy": lambda x, source, _=False: source.to(x.dtype).expand(x.shape),
    "rnn_tanh_cell": _rnn_cell(torch.tanh),
    "rnn_relu_cell": _rnn_cell(torch.relu),
    "lstm_cell": _lstm_cell,
    "gru_cell": _gru_cell,
    "trace": _trace,
    "nansum": _nansum,
    **resample.DECOMPOSITIONS,
    **decompose_math.DECOMPOSITIONS,
    **decompose_scans.DECOMPOSITIONS,
    **decompose_sort.DECOMPOSITIONS,
}
