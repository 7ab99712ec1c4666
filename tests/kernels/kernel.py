"""One kernel run on chosen inputs, against the numpy reference."""

import ctypes

import numpy as np

from bnn_compiler import families
from bnn_compiler.deploy.cpu import abi, link, trial
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops import reference
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.ops.window import Window
from bnn_compiler.ops.winograd import winograd_conv2d
from bnn_compiler.runtime.session import pack_bits, unpack_bits
from bnn_compiler.runtime.tensors import aligned

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
    winograd=False,
):
    """``pad`` is one number or (top, left, bottom, right)."""
    dense = dtype == "int16" or (dtype == "uint8" and channels < LANES)
    far = dense * (1 if dtype == "int16" else -(-3 // channels))
    top, left, bottom, right = pad if isinstance(pad, tuple) else (pad,) * 4
    x = Layout((batch, size, size, channels), dtype, (top, left, bottom, right + far), dense)
    if winograd:
        x = Layout(x.shape, dtype, dense=True)
    reach = dilation * (kernel - 1) + 1
    out = [(size + more - reach) // stride + 1 for more in (top + bottom, left + right)]
    work = ConvWorkload(
        x,
        (batch, *out, outputs),
        (kernel,) * 2,
        (stride,) * 2,
        (dilation,) * 2,
        (top, left, bottom, right),
        groups,
        pad_value,
        winograd,
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
    if work.x.dtype in ("int16", "uint8"):
        most, kind = {"int16": (3000, np.int16), "uint8": (127, np.int8)}[work.x.dtype]
        weights = [
            rng.integers(-most, most, kernel, kind, endpoint=True),
            (1e-5 * rng.normal(size=o)).astype(np.float32),
            rng.normal(size=kernel[:3]),
        ]
        return rng.integers(0, 256, (n, h, w, c), np.uint8), weights, operands
    floats = [rng.normal(size=s).astype(np.float32) for s in ((n, h, w, c), kernel)]
    return floats[0], [floats[1]], operands


def expected(one, x, weights, operands):
    """[float32, int8 signs] by the reference."""
    work = one.work
    window = Window(work.kernel, work.strides, work.padding, work.dilation, work.groups)
    if work.x.dtype == "uint32":
        value = reference.binary_conv2d(x, weights[0], window, work.pad_value)
    elif work.x.dtype in ("int16", "uint8"):
        value = reference.byte_conv2d(x, *weights, window)
    elif work.winograd:
        value = winograd_conv2d(x, weights[0], window)
    else:
        value = reference.float_conv2d(x, weights[0], window)
    return one.epilogue.apply(value, operands)


def run(one, point, device, folder, x, weights, operands):
    """The same by the kernel."""
    function = families.function(one, point)
    library, extent = _library(function, device, folder)
    constants = families.constants(one, point, weights)
    if one.work.winograd:
        image = _aligned(x.transpose(0, 3, 1, 2))
    else:
        image = _stored(one.work.x, x, one.work.pad_value == 1)
    arrays = [image, *(_aligned(c) for c in constants)]
    arrays += [_operand(v, t) for v, t in zip(operands, one.tensors, strict=True)]
    n, h, w, o = one.work.shape
    lanes = -(-o // 16) * 16
    value = aligned(4 * n * h * w * lanes).view(np.float32).reshape(n, h, w, lanes)
    bits = aligned(2 * n * h * w * lanes // 16).view(np.uint16).reshape(n, h, w, lanes // 16)
    arrays += [value, bits]
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    # In two ranges, as two threads would.
    half = extent // 2
    call = library.kernel
    for first, last in ((0, half), (half, extent)):
        assert call(*(ctypes.c_void_p(p) for p in pointers), first, last) == 0
    padded = np.zeros((n, h, w, -(-lanes // 32) * 2), np.uint16)
    padded[..., : lanes // 16] = bits
    return [value[..., :o], unpack_bits(padded.view(np.uint32), o)]


def _library(function, device, folder):
    """The kernel as a shared library, and the extent of its parallel loop."""
    extent = trial.write_object(function, device, folder / "kernel.o")
    (folder / "stub.c").write_text(abi.registration())
    library = link.toolchain(device.arch, device.link).library
    link.run([*library, "-fPIC", "-o", "kernel.so", "stub.c", "kernel.o"], folder)
    return ctypes.CDLL(str(folder / "kernel.so")), extent


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


def _stored(layout, value, ones=False):
    """The tensor in memory; the halo of bits holds +1 or -1."""
    _, h, w, c = layout.shape
    top, left, _, _ = layout.halo
    memory = aligned(layout.bytes + 64)[: layout.bytes].view(layout.dtype)
    stored = memory.reshape(layout.physical)
    if layout.dtype == "uint32":
        stored[:] = pack_bits(np.full(c, ones))
        value, c = pack_bits(value), layout.channels
    stored[:, top : top + h, left : left + w, :c] = value
    return stored
