"""The table of the ``bnn`` operators: what each reads, yields and means.

Tensors are NHWC. Bit tensors are uint32 [N, H, W, ceil(C/32)]: channel c is bit c % 32 of word
c // 32, 1 means +1, the tail bits of the last word are 0. In numpy they are int8 of -1 and +1.

| operator | data | result |
|---|---|---|
| sign | x float32 | -1, 0 or +1 as float32; attribute ``zero`` says what sign(0) is |
| affine | x, scale [C], bias [C] | fma(x, scale, bias) |
| function | x float32 | a function of ops/functions.py: attributes ``function`` and ``params`` |
| bits_max_pool2d | bits, flip uint32 [words] | per channel OR (flip 0) or AND (flip 1) |
| map | x, operands... | epilogue(x) |
| conv2d | bits, w int8 [O,KH,KW,C/groups] of -1/+1, operands... | epilogue(exact integer) |
| float_conv2d | x, w [O,KH,KW,C/groups], operands... | epilogue(convolution) |
| winograd_conv2d | x [N,C,H,W], w [O,K,K,C], operands... | the same by minimal filtering |
| half_conv2d | x, w [O,KH,KW,C], operands... | the same of both in float16 (ops/half.py) |
| half_image_conv2d | x [N,C,H,W], w [O,KH,KW,C], operands... | the same of an image |
| half_pooled_conv2d | x [N,C,H,W], w, scale [O], bias [O] | epilogue(max_pool(affine(the same))) |
| bytes | x uint8, operands... | epilogue(float32(x)) |
| byte_conv2d | x uint8, w int16, scale [O], bias [O,KH,KW] | epilogue(scale * sum + biases) |
| int8_conv2d | x uint8, w int8 [O,KH,KW,C/groups], scale, bias | the same on bytes of any range |
| image_bytes | x [N,C,H,W], factor [C], zero [C] | to_bytes(x, factor, zero) as [N,H,W,C] |
| max_pool2d, avg_pool2d, global_mean, resize2d, pad | x, operands... | epilogue(value) |
| tile | x, operands... | epilogue(``channels`` channels of x from ``start`` on, in turn) |
| pad_channels | x, operands... | epilogue(x with ``before`` and ``after`` more channels) |
| matmul | bits a [N,H,I,K], b [N,H,J,K], operands... | epilogue(exact integers [N,H,I,J]) |
| tokens | x [..., C], operands... | epilogue(x as an image [N, H, W, C] of ``shape``) |
| plain | x [N, H, W, C] | x as the dense tensor [..., C] of ``shape`` |
| general | x... | the value of ``program`` (ops/general.py), dense and of any rank |
| concat | x..., operands... (``inputs`` says how many x) | epilogue(value) |

To add one: a row of OPERATORS, and for an anchor a row of plan/tasks.py and its kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.ops import half, reference, resize
from bnn_compiler.ops.epilogue import STEPS
from bnn_compiler.ops.functions import evaluate
from bnn_compiler.ops.general import Program
from bnn_compiler.ops.window import Window
from bnn_compiler.ops.winograd import winograd_conv2d

Shape = tuple[int, ...]
Array = NDArray[Any]
ShapeRule = Callable[[Any, Sequence[Shape]], Shape]

#: ``data`` of an operator whose attribute ``inputs`` says how many data it has.
VARIADIC = -1
#: Attributes of a pool behind a convolution.
_POOL = ("kernel", "strides", "padding")


def _no_attributes(_: Any, __: Sequence[Shape]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Operator:
    """What one operator is.

    It reads ``data`` data operands. ``shape`` (attributes, shapes of the data) is the logical
    shape of its value, in channels, also where it is stored as bits; ``meaning`` (attributes,
    *data) is the value in numpy.

    An ``anchor`` carries an epilogue on that value (ops/epilogue.py), whose operands follow the
    data, and returns one tensor per output. Another operator's value is stored as it is: as
    ``bits``, or as ``dtype`` (attributes) says. One that ``reads_halo`` finds its padding around
    its stored input.

    ``source`` is the Relax operator that becomes this anchor when epilogues are fused, with the
    attributes ``attributes`` (Relax's, shapes of the data).
    """

    data: int
    shape: ShapeRule
    meaning: Callable[..., Array]
    anchor: bool = True
    bits: bool = False
    reads_halo: bool = False
    source: str = ""
    attributes: Callable[[Any, Sequence[Shape]], dict[str, Any]] = _no_attributes
    dtype: Callable[[Any], str] = lambda _: "float32"


# ---- shapes


def _same(_: Any, shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


def _convolved(attrs: Any, shapes: Sequence[Shape]) -> Shape:
    (n, h, w, _), (o, kh, kw, _) = shapes[:2]
    return n, *Window.of(attrs, (kh, kw)).size(h, w), o


def _convolved_nchw(attrs: Any, shapes: Sequence[Shape]) -> Shape:
    n, c, h, w = shapes[0]
    return _convolved(attrs, [(n, h, w, c), *shapes[1:]])


def _pooled(attrs: Any, shapes: Sequence[Shape]) -> Shape:
    n, h, w, c = shapes[0]
    return n, *Window.of(attrs).size(h, w), c


def _convolved_pooled(attrs: Any, shapes: Sequence[Shape]) -> Shape:
    n, h, w, o = _convolved_nchw(attrs, shapes)
    return n, *pool_of(attrs).size(h, w), o


def _padded(attrs: Any, shapes: Sequence[Shape]) -> Shape:
    n, h, w, c = shapes[0]
    top, left, bottom, right = (int(v) for v in attrs["padding"])
    return n, h + top + bottom, w + left + right, c


def _products(_: Any, shapes: Sequence[Shape]) -> Shape:
    return *shapes[0][:3], shapes[1][2]


def _given(attrs: Any, _: Sequence[Shape]) -> Shape:
    return tuple(int(v) for v in attrs["shape"])


def _widened(attrs: Any, shapes: Sequence[Shape]) -> Shape:
    return *shapes[0][:3], shapes[0][3] + int(attrs["before"]) + int(attrs["after"])


def _joined(_: Any, shapes: Sequence[Shape]) -> Shape:
    return *shapes[0][:3], sum(s[3] for s in shapes)


# ---- meanings


def pool_of(attrs: Any) -> Window:
    """The pool behind a convolution."""
    kernel, strides, padding = ([int(v) for v in attrs[f"pool_{k}"]] for k in _POOL)
    (kh, kw), (sh, sw), (top, left, bottom, right) = kernel, strides, padding
    return Window((kh, kw), (sh, sw), (top, left, bottom, right))


def pool_attrs(pool: Window) -> dict[str, list[int]]:
    """The inverse; a pool of a convolution is not dilated."""
    attrs = pool.attrs()
    return {f"pool_{k}": attrs[k] for k in _POOL}


def _window(attrs: Any, weights: Array) -> Window:
    return Window.of(attrs, weights.shape[1:3])


def _pad(attrs: Any, x: Array) -> Array:
    top, left, bottom, right = (int(v) for v in attrs["padding"])
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(x, widths, constant_values=float(attrs["pad_value"]))


def _matmul(attrs: Any, a: Array, b: Array) -> Array:
    left, right = (
        x.astype(np.float64) if int(low) else (x.astype(np.float64) + 1) / 2
        for x, low in zip((a, b), attrs["low"], strict=True)
    )
    return np.asarray(left @ right.swapaxes(2, 3))


def _pad_channels(attrs: Any, x: Array) -> Array:
    widths = ((0, 0), (0, 0), (0, 0), (int(attrs["before"]), int(attrs["after"])))
    return np.pad(x, widths, constant_values=float(attrs["pad_value"]))


def tiled(attrs: Any, channels: int) -> NDArray[np.int64]:
    """Which of ``channels`` channels each channel of a ``tile`` is."""
    return (int(attrs["start"]) + np.arange(int(attrs["channels"]))) % channels


def _resize(attrs: Any, x: Array) -> Array:
    size = [int(v) for v in attrs["size"]]
    factors = [float(v) for v in attrs["factors"]]
    return resize.resize2d(x, size, str(attrs["method"]), str(attrs["transform"]), factors)


def _bits_pool(attrs: Any, x: Array, flip: Array) -> Array:
    bits = np.unpackbits(flip.view(np.uint8), bitorder="little")[: x.shape[3]]
    sign = np.where(bits == 1, -1, 1).astype(np.int8)
    return reference.max_pool2d(x * sign, Window.of(attrs)) * sign


# ---- attributes, from those of a Relax operator


def _conv_attributes(attrs: Any, shapes: Sequence[Shape]) -> dict[str, Any]:
    window = Window.of(attrs, shapes[1][1:3])
    return {**window.attrs(), "groups": window.groups}


def _pool_attributes(attrs: Any, _: Sequence[Shape]) -> dict[str, Any]:
    return Window.of(attrs, attrs["pool_size"]).attrs()


def _avg_pool_attributes(attrs: Any, shapes: Sequence[Shape]) -> dict[str, Any]:
    counted = bool(attrs["count_include_pad"])
    return {**_pool_attributes(attrs, shapes), "count_include_pad": counted}


def _pad_attributes(attrs: Any, _: Sequence[Shape]) -> dict[str, Any]:
    w = [int(v) for v in attrs["pad_width"]]
    return {"padding": [w[2], w[4], w[3], w[5]], "pad_value": float(attrs["pad_value"])}


OPERATORS: dict[str, Operator] = {
    "sign": Operator(
        1,
        _same,
        lambda attrs, x: STEPS["sign"].meaning(x, float(attrs["zero"])),
        anchor=False,
    ),
    "affine": Operator(3, _same, lambda _, x, s, b: STEPS["affine"].meaning(x, s, b), anchor=False),
    "function": Operator(
        1,
        _same,
        lambda attrs, x: evaluate(str(attrs["function"]), x, [float(p) for p in attrs["params"]]),
        anchor=False,
    ),
    "bits_max_pool2d": Operator(
        2,
        lambda attrs, shapes: (*_pooled(attrs, shapes)[:3], int(attrs["channels"])),
        _bits_pool,
        anchor=False,
        bits=True,
    ),
    "map": Operator(1, _same, lambda _, x: x),
    "conv2d": Operator(
        2,
        _convolved,
        lambda attrs, x, w: reference.binary_conv2d(
            x, w, _window(attrs, w), int(attrs["pad_value"])
        ),
        reads_halo=True,
    ),
    "float_conv2d": Operator(
        2,
        _convolved,
        lambda attrs, x, w: reference.float_conv2d(x, w, _window(attrs, w)),
        reads_halo=True,
        source="relax.nn.conv2d",
        attributes=_conv_attributes,
    ),
    "winograd_conv2d": Operator(
        2,
        _convolved_nchw,
        lambda attrs, x, w: winograd_conv2d(x.transpose(0, 2, 3, 1), w, _window(attrs, w)),
    ),
    "half_conv2d": Operator(
        2,
        _convolved,
        lambda attrs, x, w: half.conv2d(x, w, _window(attrs, w)),
        reads_halo=True,
    ),
    "half_image_conv2d": Operator(
        2,
        _convolved_nchw,
        lambda attrs, x, w: half.conv2d(x.transpose(0, 2, 3, 1), w, _window(attrs, w)),
    ),
    "half_pooled_conv2d": Operator(
        4,
        _convolved_pooled,
        lambda attrs, x, w, scale, bias: half.pooled_conv2d(
            x.transpose(0, 2, 3, 1), w, scale, bias, _window(attrs, w), pool_of(attrs)
        ),
    ),
    "bytes": Operator(1, _same, lambda _, x: x.astype(np.float32)),
    "byte_conv2d": Operator(
        4,
        _convolved,
        lambda attrs, x, w, scale, bias: reference.byte_conv2d(
            x, w, scale, bias, _window(attrs, w)
        ),
        reads_halo=True,
    ),
    "int8_conv2d": Operator(
        4,
        _convolved,
        lambda attrs, x, w, scale, bias: reference.byte_conv2d(
            x, w, scale, bias, _window(attrs, w)
        ),
        reads_halo=True,
    ),
    "image_bytes": Operator(
        3,
        lambda _, shapes: tuple(shapes[0][i] for i in (0, 2, 3, 1)),
        lambda _, x, factor, zero: reference.to_bytes(x.transpose(0, 2, 3, 1), factor, zero),
        anchor=False,
        dtype=lambda _: "uint8",
    ),
    "max_pool2d": Operator(
        1,
        _pooled,
        lambda attrs, x: reference.max_pool2d(x, Window.of(attrs)),
        source="relax.nn.max_pool2d",
        attributes=_pool_attributes,
    ),
    "avg_pool2d": Operator(
        1,
        _pooled,
        lambda attrs, x: reference.avg_pool2d(
            x, Window.of(attrs), bool(attrs["count_include_pad"])
        ),
        source="relax.nn.avg_pool2d",
        attributes=_avg_pool_attributes,
    ),
    "global_mean": Operator(
        1,
        lambda _, shapes: (shapes[0][0], 1, 1, shapes[0][3]),
        lambda _, x: reference.global_mean(x),
        source="relax.mean",
    ),
    "resize2d": Operator(
        1,
        lambda attrs, shapes: (shapes[0][0], *(int(v) for v in attrs["size"]), shapes[0][3]),
        _resize,
    ),
    "pad": Operator(1, _padded, _pad, source="relax.nn.pad", attributes=_pad_attributes),
    "tile": Operator(
        1,
        lambda attrs, shapes: (*shapes[0][:3], int(attrs["channels"])),
        lambda attrs, x: x[..., tiled(attrs, x.shape[3])],
    ),
    "pad_channels": Operator(1, _widened, _pad_channels),
    "matmul": Operator(2, _products, _matmul),
    "tokens": Operator(1, _given, lambda attrs, x: x.reshape(_given(attrs, ()))),
    "plain": Operator(1, _given, lambda attrs, x: x.reshape(_given(attrs, ())), anchor=False),
    "general": Operator(
        VARIADIC,
        lambda attrs, shapes: Program.parse(list(attrs["program"])).shape(shapes),
        lambda attrs, *xs: Program.parse(list(attrs["program"])).evaluate(xs),
        anchor=False,
        dtype=lambda attrs: Program.parse(list(attrs["program"])).dtype,
    ),
    "concat": Operator(
        VARIADIC,
        _joined,
        lambda _, *xs: np.concatenate(xs, axis=3),
        source="relax.concat",
        attributes=lambda _, shapes: {"inputs": len(shapes)},
    ),
}
