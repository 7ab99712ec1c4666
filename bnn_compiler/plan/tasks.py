"""An operator with the layouts of what it reads becomes a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from tvm import relax

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.kernels.workload import ConvWorkload, HalfWorkload
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.operators import pool_of
from bnn_compiler.ops.storage import Storage
from bnn_compiler.ops.window import Window


@dataclass(frozen=True)
class Request:
    """An anchor call, the layouts of its data, and of its epilogue's operands (None: a vector)."""

    call: relax.Call
    data: tuple[Layout, ...]
    tensors: tuple[Layout | None, ...]

    def conv(self, work: ConvWorkload) -> Task:
        """The call as a convolution."""
        return Task(work, ops.epilogue_of(self.call), self.tensors)

    def plain(self, work: ConvWorkload | None = None, *parameters: object) -> PlainTask:
        """The call as a kernel that mixes no channels."""
        name, epilogue = ops.anchor_name(self.call), ops.epilogue_of(self.call)
        return PlainTask(name, self.data, work, parameters, epilogue, self.tensors)

    def work(self, kernel: Sequence[int] | None = None) -> ConvWorkload:
        """The call's window."""
        return window_work(self.call, self.data[0], ops.anchor_shape(self.call), kernel)


def window_work(
    call: relax.Call, x: Layout, shape: Sequence[int], kernel: Sequence[int] | None = None
) -> ConvWorkload:
    """The workload of a call with window attributes; ``kernel`` where weights give its size."""
    window = Window.of(call.attrs, kernel)
    n, h, w, c = shape
    return ConvWorkload(
        x,
        (n, h, w, c),
        window.kernel,
        window.strides,
        window.dilation,
        window.padding,
        window.groups,
        int(getattr(call.attrs, "pad_value", 0)),
    )


def _conv2d(request: Request) -> Task:
    return request.conv(request.work(ops.shape_of(request.call.args[1])[1:3]))


def _of_image(request: Request) -> ConvWorkload:
    """A convolution of an image [N, C, H, W]."""
    n, c, h, w = request.data[0].shape
    image = Layout((n, h, w, c), request.data[0].dtype, dense=True)
    kernel = ops.shape_of(request.call.args[1])[1:3]
    return window_work(request.call, image, ops.anchor_shape(request.call), kernel)


def _winograd_conv2d(request: Request) -> Task:
    return request.conv(replace(_of_image(request), winograd=True))


def _half_conv2d(request: Request) -> Task:
    work = request.work(ops.shape_of(request.call.args[1])[1:3])
    return request.conv(HalfWorkload.of(work))


def _half_image_conv2d(request: Request) -> Task:
    return request.conv(HalfWorkload.of(_of_image(request), image=True))


def _half_pooled_conv2d(request: Request) -> Task:
    work = HalfWorkload.of(_of_image(request), True, pool_of(request.call.attrs))
    return request.conv(work)


def _plain(request: Request) -> PlainTask:
    return request.plain()


def _max_pool2d(request: Request) -> PlainTask:
    return request.plain(request.work())


def _avg_pool2d(request: Request) -> PlainTask:
    return request.plain(request.work(), bool(request.call.attrs["count_include_pad"]))


def _pad(request: Request) -> PlainTask:
    attrs = request.call.attrs
    padding = tuple(int(v) for v in attrs["padding"])
    return request.plain(None, padding, float(attrs["pad_value"]))


def _resize2d(request: Request) -> PlainTask:
    attrs = request.call.attrs
    size, factors = tuple(int(v) for v in attrs["size"]), tuple(float(v) for v in attrs["factors"])
    return request.plain(None, size, str(attrs["method"]), str(attrs["transform"]), factors)


def _tile(request: Request) -> PlainTask:
    attrs = request.call.attrs
    return request.plain(None, int(attrs["start"]), int(attrs["channels"]))


def _pad_channels(request: Request) -> PlainTask:
    attrs = request.call.attrs
    widths = int(attrs["before"]), int(attrs["after"])
    return request.plain(None, *widths, float(attrs["pad_value"]))


def rows(call: relax.Call, x: Layout) -> Layout:
    """How bnn.tokens reads its operand: an image, or the rows of a plain tensor."""
    c = ops.anchor_shape(call)[3]
    return Layout((1, 1, prod(x.shape) // c, c), x.dtype, dense=True) if x.dense else x


def _tokens(request: Request) -> PlainTask:
    x = rows(request.call, request.data[0])
    return replace(request, data=(x,)).plain(None, ops.anchor_shape(request.call))


def _matmul(request: Request) -> PlainTask:
    return request.plain(None, *(int(v) for v in request.call.attrs["low"]))


def dense(shape: Sequence[int], dtype: str = Storage.FLOAT32.dtype) -> Layout:
    """How a plain tensor lies in memory: its elements in row-major order."""
    return Layout((1, 1, 1, prod(shape)), dtype, dense=True)


def general(call: relax.Call) -> PlainTask:
    """A call of bnn.general: the shapes of its arguments and the lines of its program."""
    shapes = tuple(ops.shape_of(a) for a in call.args)
    lines = tuple(str(line) for line in call.attrs["program"])
    return PlainTask("general", tuple(map(dense, shapes)), parameters=(shapes, lines))


TASKS: dict[str, Callable[[Request], Task | PlainTask]] = {
    "conv2d": _conv2d,
    "float_conv2d": _conv2d,
    "byte_conv2d": _conv2d,
    "int8_conv2d": _conv2d,
    "winograd_conv2d": _winograd_conv2d,
    "half_conv2d": _half_conv2d,
    "half_image_conv2d": _half_image_conv2d,
    "half_pooled_conv2d": _half_pooled_conv2d,
    "bytes": _plain,
    "map": _plain,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_mean": _plain,
    "concat": _plain,
    "pad": _pad,
    "resize2d": _resize2d,
    "tile": _tile,
    "pad_channels": _pad_channels,
    "tokens": _tokens,
    "matmul": _matmul,
}
