"""One kernel run on chosen inputs, against the numpy reference."""

import ctypes

import numpy as np

from bnn_compiler.kernels import families
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops import reference
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.runtime.session import aligned, pack_bits, unpack_bits
from bnn_compiler.tune import harness

#: Batch norm, shortcut, float and packed results: what a Bi-Real layer does.
EPILOGUE = Epilogue((Step("affine", (0, 1)), Step("add", (2,))), (Output(), Output(">=", 3)))


def task(
    channels,
    size,
    outputs,
    kernel=3,
    stride=1,
    pad=1,
    groups=1,
    dtype="uint32",
    batch=1,
    dilation=1,
    pad_value=0,
):
    """A layer; ``pad`` is the same on all sides or (top, left, bottom, right)."""
    padding = (pad,) * 4 if isinstance(pad, int) else pad
    dense = dtype == "int16"
    halo = (*padding[:3], padding[3] + dense)
    x = Layout((batch, size, size, channels), dtype, halo, dense)
    reach = dilation * (kernel - 1)
    oh, ow = ((size + padding[i] + padding[i + 2] - reach - 1) // stride + 1 for i in (0, 1))
    work = ConvWorkload(
        x,
        (batch, oh, ow, outputs),
        (kernel,) * 2,
        (stride,) * 2,
        (dilation,) * 2,
        padding,
        groups,
        pad_value,
    )
    return Task(work, EPILOGUE, (None, None, Layout(work.shape, "float32"), None))


def inputs(one, seed=0):
    """Logical input, weights, and the epilogue's operands."""
    rng = np.random.default_rng(seed)
    work = one.work
    n, h, w, c = work.x.shape
    o = work.shape[3]
    kernel = (o, *work.kernel, c // work.groups)
    operands = [rng.normal(size=o).astype(np.float32) for _ in range(4)]
    operands[2] = rng.normal(size=work.shape).astype(np.float32)
    if work.x.dtype == "uint32":
        signs = [rng.choice(np.array([-1, 1], np.int8), s) for s in ((n, h, w, c), kernel)]
        return signs[0], [signs[1]], operands
    if work.x.dtype == "int16":
        weights = [
            rng.integers(-3000, 3000, kernel, np.int16),
            (1e-5 * rng.normal(size=o)).astype(np.float32),
            rng.normal(size=kernel[:3]),
        ]
        return rng.integers(0, 256, (n, h, w, c), np.uint8), weights, operands
    floats = [rng.normal(size=s).astype(np.float32) for s in ((n, h, w, c), kernel)]
    return floats[0], [floats[1]], operands


def expected(one, x, weights, operands):
    """[float32, int8 signs] by the reference."""
    work = one.work
    attrs = reference.ConvAttrs(work.kernel, work.strides, work.padding, work.dilation, work.groups)
    if work.x.dtype == "uint32":
        value = reference.binary_conv2d(x, weights[0], attrs, work.pad_value)
    elif work.x.dtype == "int16":
        value = reference.byte_conv2d(x, *weights, attrs)
    else:
        value = reference.float_conv2d(x, weights[0], attrs)
    return reference.apply_epilogue(one.epilogue, value, operands)


def run(one, point, device, folder, x, weights, operands):
    """The same by the kernel."""
    function = one.function(point)
    shared = harness.build(function, one, point, device, folder / "kernel")
    library = ctypes.CDLL(str(shared))
    constants = families.FAMILIES[point.family].constants(one.work, point, *weights)
    arrays = [_stored(one.work.x, x, one.work.pad_value), *(_aligned(c) for c in constants)]
    arrays += [_operand(v, t) for v, t in zip(operands, one.tensors, strict=True)]
    n, h, w, o = one.work.shape
    lanes = -(-o // 16) * 16
    value = aligned(4 * n * h * w * lanes).view(np.float32).reshape(n, h, w, lanes)
    bits = aligned(2 * n * h * w * lanes // 16).view(np.uint16).reshape(n, h, w, lanes // 16)
    arrays += [value, bits]
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    with np.load(shared.with_suffix(".npz")) as saved:
        extent = int(saved["extent"])
    # In two ranges, as two threads would.
    half = extent // 2
    call = library.kernel
    for first, last in ((0, half), (half, extent)):
        assert call(*(ctypes.c_void_p(p) for p in pointers), first, last) == 0
    padded = np.zeros((n, h, w, -(-lanes // 32) * 2), np.uint16)
    padded[..., : lanes // 16] = bits
    return [value[..., :o], unpack_bits(padded.view(np.uint32), o)]


def _aligned(array):
    raw = np.ascontiguousarray(array)
    memory = aligned(max(raw.nbytes, 1)).view(np.uint8)
    memory[: raw.nbytes] = raw.reshape(-1).view(np.uint8)
    return memory


def _operand(value, layout):
    if layout is not None:
        return _stored(layout, value)
    lanes = -(-value.size // 16) * 16
    padded = np.full(lanes, np.inf, np.float32)
    padded[: value.size] = value
    return _aligned(padded)


def _stored(layout, value, pad_value=0):
    _, h, w, c = layout.shape
    top, left, bottom, right = layout.halo
    if layout.dtype == "uint32":
        # No bit says 0: a border of zeros is stored as one of -1.
        sides = ((0, 0), (top, bottom), (left, right), (0, 0))
        value = np.pad(value, sides, constant_values=pad_value or -1)
        value, c = pack_bits(value), layout.channels
        h, w, top, left = *layout.physical[1:3], 0, 0
    memory = aligned(layout.bytes + 64)[: layout.bytes].view(layout.dtype)
    stored = memory.reshape(layout.physical)
    stored[:, top : top + h, left : left + w, :c] = value
    return stored
