"""Which kernel an anchor gets: its TE, its constants, its schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from tvm import relax, tirx

from bnn_compiler import families
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.kernels.cpu import channelwise, schedule
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import array
from bnn_compiler.ops.resize import resize_tables


@dataclass(frozen=True)
class Request:
    """An anchor call, the layouts of its data, and of its epilogue's operands (None: a vector)."""

    call: relax.Call
    data: tuple[Layout, ...]
    tensors: tuple[Layout | None, ...]
    schedules: Schedules

    @property
    def tail(self) -> tuple[Any, list[Layout | None]]:
        """The last two arguments of every TE builder."""
        return ops.epilogue_of(self.call), list(self.tensors)


@dataclass(frozen=True)
class Kernel:
    """How to make a kernel, what identifies it, the constants after its first input, its point.

    Of ``macs``, ``products`` are computed (fewer by minimal filtering). ``float_ratio`` is the time
    of the same layer in float32 divided by this one's, if measured.
    """

    make: Callable[[], tirx.PrimFunc]
    key: object
    constants: tuple[np.ndarray, ...] = ()
    macs: int = 0
    products: int = 0
    source: str = "fixed"
    point: dict[str, object] = field(default_factory=dict)
    float_ratio: float | None = None


def window_work(
    call: relax.Call, x: Layout, shape: Sequence[int], kernel: Sequence[int] | None = None
) -> ConvWorkload:
    """The workload of a call with window attributes; ``kernel`` where weights give its size."""
    attrs = call.attrs
    keys = set(attrs.keys())

    def pair(name: str) -> tuple[int, int]:
        first, second = (int(v) for v in attrs[name])
        return first, second

    top, left, bottom, right = (int(v) for v in attrs["padding"])
    n, h, w, c = shape
    kh, kw = kernel if kernel is not None else pair("kernel")
    return ConvWorkload(
        x,
        (n, h, w, c),
        (int(kh), int(kw)),
        pair("strides"),
        pair("dilation"),
        (top, left, bottom, right),
        int(attrs["groups"]) if "groups" in keys else 1,
        int(attrs["pad_value"]) if "pad_value" in keys else 0,
    )


def _work(request: Request, kernel: Sequence[int] | None = None) -> ConvWorkload:
    shape = ops.anchor_shape(request.call)
    return window_work(request.call, request.data[0], shape, kernel)


def _conv2d(request: Request) -> Kernel:
    weights, *more = (array(a) for a in request.call.args[1 : ops.data_count(request.call)])
    work = _work(request, weights.shape[1:3])
    if channelwise.is_depthwise(work):
        return _depthwise(request, work, weights)
    return _scheduled(request, work, weights, *more)


def _depthwise(request: Request, work: ConvWorkload, weights: np.ndarray) -> Kernel:
    task = Task(work, ops.epilogue_of(request.call), request.tensors)
    point = families.rule(task, request.schedules.target.hardware)
    constants = tuple(families.constants(task, point, [weights]))
    make = partial(families.function, task, point)
    return Kernel(make, (work,), constants, work.macs, work.products)


def _winograd_conv2d(request: Request) -> Kernel:
    weights = array(request.call.args[1])
    n, c, h, w = request.data[0].shape
    image = Layout((n, h, w, c), request.data[0].dtype, dense=True)
    shape = ops.anchor_shape(request.call)
    work = window_work(request.call, image, shape, weights.shape[1:3])
    return _scheduled(request, replace(work, winograd=True), weights)


def _scheduled(request: Request, work: ConvWorkload, *weights: np.ndarray) -> Kernel:
    task = Task(work, ops.epilogue_of(request.call), request.tensors)
    choice = request.schedules.pick(task)
    return Kernel(
        lambda: choice.function,
        (work, choice.point),
        tuple(families.constants(task, choice.point, weights)),
        work.macs,
        work.products,
        choice.source,
        choice.point.as_dict(),
        choice.float_seconds / choice.seconds if choice.float_seconds and choice.seconds else None,
    )


def _plain(request: Request, build: Callable[..., Any], *args: object) -> Kernel:
    return Kernel(lambda: schedule.channelwise(build(*args, *request.tail)), args)


def _map(request: Request) -> Kernel:
    return _plain(request, channelwise.identity, request.data[0])


def _max_pool2d(request: Request) -> Kernel:
    return _plain(request, channelwise.max_pool2d, _work(request))


def _avg_pool2d(request: Request) -> Kernel:
    counted = bool(request.call.attrs["count_include_pad"])
    return _plain(request, channelwise.avg_pool2d, _work(request), counted)


def _global_mean(request: Request) -> Kernel:
    return _plain(request, channelwise.global_mean, request.data[0])


def _concat(request: Request) -> Kernel:
    return _plain(request, channelwise.concat, list(request.data))


def _pad(request: Request) -> Kernel:
    attrs = request.call.attrs
    padding = [int(v) for v in attrs["padding"]]
    return _plain(request, channelwise.pad, request.data[0], padding, float(attrs["pad_value"]))


def _resize2d(request: Request) -> Kernel:
    attrs = request.call.attrs
    method, transform = str(attrs["method"]), str(attrs["transform"])
    size = [int(v) for v in attrs["size"]]
    kernel = _plain(request, channelwise.resize2d, request.data[0], size, method, transform)
    _, h, w, _ = request.data[0].shape
    fy, fx = (float(v) for v in attrs["factors"])
    rows = resize_tables(h, size[0], method, transform, fy)
    columns = resize_tables(w, size[1], method, transform, fx)
    return replace(kernel, constants=(*rows, *columns))


KERNELS: dict[str, Callable[[Request], Kernel]] = {
    "conv2d": _conv2d,
    "float_conv2d": _conv2d,
    "byte_conv2d": _conv2d,
    "winograd_conv2d": _winograd_conv2d,
    "bytes": _map,
    "map": _map,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_mean": _global_mean,
    "concat": _concat,
    "pad": _pad,
    "resize2d": _resize2d,
}
