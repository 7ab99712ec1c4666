"""The kernels of plain tasks: one schedule each."""

from collections.abc import Callable, Sequence

import numpy as np
from tvm import tirx

from bnn_compiler.kernels.cpu import channelwise, general, matmul, schedule, tokens
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.resize import resize_tables


def function(task: PlainTask) -> tirx.PrimFunc:
    """The scheduled kernel: inputs, constants after the first, epilogue's operands, outputs."""
    if task.op == "general":
        return general.function(task)
    if task.op == "matmul":
        return matmul.function(task)
    if task.op in WORDS:
        return schedule.words(WORDS[task.op](task))
    return schedule.channelwise(STAGES[task.op](task))


def constants(task: PlainTask, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The parameters after the first input; ``weights`` are the operator's constant operands."""
    if task.op != "resize2d":
        return list(weights)
    (height, width), method, transform, (fy, fx) = task.parameters
    _, h, w, _ = task.data[0].shape
    return [
        *resize_tables(h, height, method, transform, fy),
        *resize_tables(w, width, method, transform, fx),
    ]


def _window(task: PlainTask) -> ConvWorkload:
    assert task.work is not None, f"{task.op} has a window"
    return task.work


def _map(task: PlainTask) -> Stages:
    return channelwise.identity(task.data[0], task.epilogue, list(task.tensors))


def _max_pool2d(task: PlainTask) -> Stages:
    return channelwise.max_pool2d(_window(task), task.epilogue, list(task.tensors))


def _avg_pool2d(task: PlainTask) -> Stages:
    (count_include_pad,) = task.parameters
    tensors = list(task.tensors)
    return channelwise.avg_pool2d(_window(task), count_include_pad, task.epilogue, tensors)


def _global_mean(task: PlainTask) -> Stages:
    return channelwise.global_mean(task.data[0], task.epilogue, list(task.tensors))


def _concat(task: PlainTask) -> Stages:
    return channelwise.concat(task.data, task.epilogue, list(task.tensors))


def _pad(task: PlainTask) -> Stages:
    padding, value = task.parameters
    return channelwise.pad(task.data[0], padding, value, task.epilogue, list(task.tensors))


def _tile(task: PlainTask) -> Stages:
    start, channels = task.parameters
    return channelwise.tile(task.data[0], start, channels, task.epilogue, list(task.tensors))


def _pad_channels(task: PlainTask) -> Stages:
    before, after, value = task.parameters
    tensors = list(task.tensors)
    return channelwise.pad_channels(task.data[0], (before, after), value, task.epilogue, tensors)


def _resize2d(task: PlainTask) -> Stages:
    size, method, transform, _ = task.parameters
    tensors = list(task.tensors)
    return channelwise.resize2d(task.data[0], size, method, transform, task.epilogue, tensors)


def _bits_max_pool2d(task: PlainTask) -> tirx.PrimFunc:
    return channelwise.bits_max_pool2d(_window(task))


def _to_nhwc(task: PlainTask) -> tirx.PrimFunc:
    (storage,) = task.parameters
    return channelwise.to_nhwc(task.data[0], storage.dtype)


def _image_bytes(task: PlainTask) -> tirx.PrimFunc:
    return channelwise.image_bytes(task.data[0])


def _to_nchw(task: PlainTask) -> tirx.PrimFunc:
    return channelwise.to_nchw(task.data[0])


def _tokens(task: PlainTask) -> Stages:
    (shape,) = task.parameters
    return tokens.tokens(task.data[0], shape, task.epilogue, list(task.tensors))


def _plain(task: PlainTask) -> tirx.PrimFunc:
    return tokens.plain(task.data[0])


#: With an epilogue, vectorised over channels.
STAGES: dict[str, Callable[[PlainTask], Stages]] = {
    "map": _map,
    "bytes": _map,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_mean": _global_mean,
    "concat": _concat,
    "pad": _pad,
    "resize2d": _resize2d,
    "tile": _tile,
    "pad_channels": _pad_channels,
    "tokens": _tokens,
}
#: Without one, on stored elements as they are.
WORDS: dict[str, Callable[[PlainTask], tirx.PrimFunc]] = {
    "bits_max_pool2d": _bits_max_pool2d,
    "to_nhwc": _to_nhwc,
    "image_bytes": _image_bytes,
    "to_nchw": _to_nchw,
    "plain": _plain,
}
