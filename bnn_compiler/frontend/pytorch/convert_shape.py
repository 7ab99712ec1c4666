"""Converters of operators that move values without computing: reshape, concat, pad, resize."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tvm import relax

from bnn_compiler.frontend.pytorch.value import Value
from bnn_compiler.ops import relax_ops as ops

if TYPE_CHECKING:
    from bnn_compiler.frontend.pytorch.importer import Importer


def cat(im: "Importer", tensors: Any, dim: int = 0) -> Value:
    """Concatenation of channels or of features."""
    values = [im.data(t) for t in tensors]
    flat = values[0].flat
    if dim % (2 if flat else 4) != 1:
        raise im.fail(f"dim={dim}; only channels (dim=1) can be concatenated")
    if flat:
        values = [im.vector(v) for v in values]
    return im.emit(relax.op.concat([v.expr for v in values], axis=3), flat)


def reshape(im: "Importer", x: Any, *_: Any) -> Value:
    """view, reshape, flatten, squeeze, unsqueeze: the shape is in the node's meta."""
    value = im.data(x)
    shape = tuple(int(v) for v in im.node.meta["val"].shape)
    if len(shape) not in (2, 4):
        raise im.fail(
            f"{list(value.shape)} becomes {list(shape)}; tensors of 2 or 4 dimensions can be"
            " compiled"
        )
    for flat in (False, True):
        same = replace(value, flat=flat)
        if same.shape == shape:
            return same
    return im.reshape(value, shape)


def pad(im: "Importer", x: Any, pads: Any, mode: Any = "constant", value: Any = 0) -> Value:
    """Constant padding of height and width."""
    source = im.data(x)
    if mode != "constant":
        raise im.fail(f"mode {mode!r}; only constant padding can be compiled")
    return _constant_pad(im, source, [int(v) for v in pads], float(value or 0.0))


def constant_pad(im: "Importer", x: Any, pads: Any, value: float = 0) -> Value:
    """aten.constant_pad_nd."""
    return _constant_pad(im, im.data(x), [int(v) for v in pads], float(value))


def _constant_pad(im: "Importer", x: Value, widths: Sequence[int], fill: float) -> Value:
    if x.flat or any(widths[4:]):
        raise im.fail(f"padding {list(widths)}; only height and width of images can be padded")
    if min(widths, default=0) < 0:
        raise im.fail(f"padding {list(widths)} crops; only widths from 0 on can be compiled")
    left, right, top, bottom = [*widths[:4], *[0] * (4 - len(widths))]
    return im.emit(relax.op.nn.pad(x.expr, [0, 0, top, bottom, left, right, 0, 0], pad_value=fill))


def nearest(transform: str) -> Callable[..., Value]:
    """upsample_nearest2d ("asymmetric") and _upsample_nearest_exact2d ("half_pixel")."""

    def convert(im: "Importer", x: Any, size: Any, *factors: Any) -> Value:
        return _resize(im, x, "nearest_neighbor", transform, factors)

    return convert


def bilinear(im: "Importer", x: Any, size: Any, align_corners: bool, *factors: Any) -> Value:
    """aten.upsample_bilinear2d."""
    transform = "align_corners" if align_corners else "half_pixel"
    return _resize(im, x, "linear", transform, factors)


def _resize(im: "Importer", x: Any, method: str, transform: str, given: Sequence[Any]) -> Value:
    """``given`` is one list (overload vec) or two numbers: how far the samples lie apart.

    None means the quotient of the sizes.
    """
    source = im.data(x)
    listed = given[0] if len(given) == 1 else given
    factors = [float(f or 0.0) for f in listed or (None, None)]
    size = [int(v) for v in im.node.meta["val"].shape[2:]]
    # PyTorch's kernel for small images takes an axis of the same or twice the size as exactly that.
    if transform == "asymmetric" and sum(size) <= 128:
        for axis, (new, old) in enumerate(zip(size, source.shape[2:], strict=True)):
            if new in (old, 2 * old):
                factors[axis] = 0.0
    return im.emit(
        ops.anchor(
            "resize2d",
            [source.expr],
            size=size,
            method=method,
            transform=transform,
            factors=factors,
        )
    )


def first(im: "Importer", x: Any, index: int) -> Value:
    """The first result of an operator that has several."""
    if index != 0:
        raise im.fail("only the first result of this operator can be used")
    return im.data(x)
