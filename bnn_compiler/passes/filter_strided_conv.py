"""FilterStridedConv: large strided convolutions of an image by minimal filtering."""

from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, array
from bnn_compiler.ops.window import Window
from bnn_compiler.ops.winograd import STRIDE, TILE

#: Kernels that are worth it: 81 products instead of 196 for 7x7, 49 instead of 100 for 5x5.
_KERNELS = (5, 7)
#: Channels up to which the transforms of the image cost little next to the products.
_CHANNELS = 4
#: Columns up to which a row of transformed tiles is at most 64 kB, on the stack of a thread.
_COLUMNS = 256


class FilterStridedConv:
    """Convolutions with stride 2 of a float image add in another order (ops/winograd.py).

    float_conv2d(permute_dims(x), w)  ->  winograd_conv2d(x, w)
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, call in list(graph.values.items()):
            image = _image(graph, call)
            if image is not None and _pays(call):
                attrs: dict[str, Any] = ops.anchor_attrs(call)
                rest = list(call.args[2:])
                data = [image, call.args[1]]
                epilogue = ops.epilogue_of(call)
                graph.set(var, ops.anchor("winograd_conv2d", data, epilogue, rest, **attrs))
        return graph.module()


def _image(graph: Graph, call: relax.Expr) -> relax.Var | None:
    """The NCHW image that a float convolution reads, if it reads one."""
    if ops.anchor_name(call) != "float_conv2d":
        return None
    moved = graph.value(call.args[0])
    if moved is None or not ops.is_op(moved, "relax.permute_dims"):
        return None
    x = moved.args[0]
    inside = any(x.same_as(p) for p in graph.params)
    return x if inside and [int(a) for a in moved.attrs.axes] == [0, 2, 3, 1] else None


def _pays(call: relax.Call) -> bool:
    _, kh, kw, channels = ops.shape_of(call.args[1])
    _, height, width, _ = ops.anchor_shape(call)
    window = Window.of(call.attrs)
    return (
        kh == kw
        and kh in _KERNELS
        and channels <= _CHANNELS
        and window.strides == (STRIDE, STRIDE)
        and window.dilation == (1, 1)
        and window.groups == 1
        and STRIDE * width <= _COLUMNS
        and height % TILE == 0
        and width % TILE == 0
        and bool(np.isfinite(array(call.args[1])).all())
    )
