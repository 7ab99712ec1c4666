"""Converters of pools and means."""

from typing import TYPE_CHECKING, Any

from tvm import relax

from bnn_compiler.frontend.pytorch.value import Value, pair

if TYPE_CHECKING:
    from bnn_compiler.frontend.pytorch.importer import Importer


def _padding(im: "Importer", padding: Any, ceil_mode: bool) -> list[int]:
    if ceil_mode:
        raise im.fail("ceil_mode=True cannot be compiled")
    ph, pw = pair(padding)
    return [ph, pw, ph, pw]


def max_pool2d(
    im: "Importer",
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    """Padded with -inf."""
    return im.emit(
        relax.op.nn.max_pool2d(
            im.data(x).expr,
            pair(kernel),
            strides=pair(stride or kernel),
            padding=_padding(im, padding, ceil_mode),
            dilation=pair(dilation),
            layout="NHWC",
        )
    )


def avg_pool2d(
    im: "Importer",
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: Any = None,
) -> Value:
    """Padded with 0."""
    if divisor is not None:
        raise im.fail("divisor_override cannot be compiled")
    return im.emit(
        relax.op.nn.avg_pool2d(
            im.data(x).expr,
            pair(kernel),
            strides=pair(stride or kernel),
            padding=_padding(im, padding, ceil_mode),
            count_include_pad=count_include_pad,
            layout="NHWC",
        )
    )


def adaptive_avg_pool2d(im: "Importer", x: Any, size: Any) -> Value:
    """The mean over height and width."""
    if pair(size) != [1, 1]:
        raise im.fail(f"output size {size}; only 1 can be compiled")
    return im.emit(relax.op.mean(im.data(x).expr, [1, 2], keepdims=True))


def mean(
    im: "Importer", x: Any, dims: Any = None, keepdim: bool = False, dtype: Any = None
) -> Value:
    """The mean over height and width; importing checks ``dtype`` for every operator."""
    value = im.data(x)
    if value.flat or dims is None or sorted(d % 4 for d in dims) != [2, 3]:
        raise im.fail(f"mean over {dims}; only the mean over height and width can be compiled")
    return im.emit(relax.op.mean(value.expr, [1, 2], keepdims=True), not keepdim)
