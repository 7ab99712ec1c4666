"""HalveFloats: float convolutions in half precision, the first one with the pool behind it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.graph import Graph, array
from bnn_compiler.ops.operators import pool_attrs
from bnn_compiler.ops.window import Window
from bnn_compiler.passes.quantize_rest import image_of

#: Products of an output, and outputs, below which a tile of a tensor core is mostly empty.
_PRODUCTS, _OUTPUTS = 16, 8
#: Images of as many channels are read as the caller has them, by kernels that reach this far.
_CHANNELS, _REACH = 4, 11
#: Pools up to this size are computed with the convolution.
_POOL = 3


class HalveFloats:
    """Ungrouped convolutions multiply float16 numbers (ops/half.py).

    float_conv2d(x, w)                        ->  half_conv2d(x, w)
    float_conv2d(permute_dims(x), w)          ->  half_image_conv2d(x, w)
    max_pool2d(float_conv2d(permute_dims(x), w; affine))  ->  half_pooled_conv2d(x, w, ...)
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, call in list(graph.values.items()):
            if _pays(call):
                _rewrite(graph, var, call)
        return graph.module()


def _pays(call: relax.Expr) -> bool:
    if ops.anchor_name(call) != "float_conv2d":
        return False
    outputs, *taps = ops.shape_of(call.args[1])
    return (
        Window.of(call.attrs, taps[:2]).groups == 1
        and int(np.prod(taps)) >= _PRODUCTS
        and outputs >= _OUTPUTS
        and bool(np.isfinite(array(call.args[1])).all())
    )


def _rewrite(graph: Graph, var: relax.Var, call: relax.Call) -> None:
    attrs: dict[str, Any] = ops.anchor_attrs(call)
    epilogue, rest = ops.epilogue_of(call), list(call.args[2:])
    image = image_of(graph, call)
    _, kh, kw, channels = ops.shape_of(call.args[1])
    dilation = Window.of(call.attrs, (kh, kw)).dilation
    reach = max((k - 1) * d + 1 for k, d in zip((kh, kw), dilation, strict=True))
    if image is None or channels > _CHANNELS or reach > _REACH:
        data = list(call.args[:2])
        graph.set(var, ops.anchor("half_conv2d", data, epilogue, rest, **attrs))
        return
    pool = _pool(graph, var, call)
    if pool is None:
        data = [image, call.args[1]]
        graph.set(var, ops.anchor("half_image_conv2d", data, epilogue, rest, **attrs))
        return
    data = [image, call.args[1], relax.const(pool.scale), relax.const(pool.bias)]
    rest = list(graph.values[pool.var].args[1:])
    attrs |= pool_attrs(pool.window)
    attrs |= {k: v for k, v in ops.anchor_attrs(graph.values[pool.var]).items() if k == "layer"}
    made = ops.anchor("half_pooled_conv2d", data, pool.epilogue, rest, **attrs)
    graph.set(pool.var, made)


@dataclass(frozen=True)
class _Pool:
    """A max-pool ``var`` of fma(convolution, scale, bias), and the epilogue behind both."""

    var: relax.Var
    window: Window
    scale: np.ndarray
    bias: np.ndarray
    epilogue: Epilogue


def _pool(graph: Graph, var: relax.Var, conv: relax.Call) -> _Pool | None:
    """The small pool that alone reads a convolution which only scales, shifts and clips."""
    user = graph.only_user(var)
    pool = None if user is None else graph.values[user]
    if pool is None or ops.anchor_name(pool) != "max_pool2d" or not pool.args[0].same_as(var):
        return None
    window, before = Window.of(pool.attrs), ops.epilogue_of(conv)
    if max(window.kernel) > _POOL or window.dilation != (1, 1):
        return None
    if any(2 * p > window.kernel[i % 2] for i, p in enumerate(window.padding)):
        return None
    outputs = ops.shape_of(conv.args[1])[0]
    scale, bias = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
    steps = list(before.steps)
    if steps and steps[0].kind == "affine":
        scale, bias = (array(conv.args[2 + i]) for i in steps.pop(0).operands)
    # The largest of clipped values is the largest one, clipped.
    if any(s.kind != "clip" for s in steps):
        return None
    assert user is not None
    after = ops.epilogue_of(pool)
    epilogue = replace(after, steps=(*steps, *after.steps))
    return _Pool(user, window, scale, bias, epilogue)
