"""Kernels for GPUs and whole programs of them, run by emulation."""

import ctypes

import numpy as np

from bnn_compiler import families
from bnn_compiler.kernels.cuda import emulate
from bnn_compiler.ops.storage import Storage
from bnn_compiler.runtime.session import pack_bits, unpack_bits
from bnn_compiler.runtime.tensors import aligned
from tests.kernels import kernel


def library(functions, folder):
    path = folder / "kernels.so"
    emulate.host_library(functions, path)
    return ctypes.CDLL(str(path))


def call(loaded, symbol, pointers):
    assert getattr(loaded, f"{symbol}_cpu")((ctypes.c_void_p * len(pointers))(*pointers)) == 0


def arrays_of(one, point, x, weights, operands):
    """A task's parameters in memory; the last ones are its outputs."""
    constants = families.constants(one, point, weights)
    if one.work.winograd or getattr(one.work, "image", False):
        image = kernel._aligned(x.transpose(0, 3, 1, 2))
    else:
        image = kernel._stored(one.work.x, x, one.work.pad_value == 1)
    arrays = [image, *(kernel._aligned(c) for c in constants)]
    arrays += [kernel._operand(v, t) for v, t in zip(operands, one.tensors, strict=True)]
    return [*arrays, *(_output(one.work.shape, out) for out in one.epilogue.outputs)]


def _output(shape, out):
    """Memory of a result, with what no kernel leaves there."""
    n, h, w, o = shape
    unit, storage = 32 if out.is_bits else 16, out.storage
    memory = aligned(storage.itemsize * n * h * w * -(-o // unit) * (1 if out.is_bits else unit))
    found = memory.view(storage.dtype).reshape(n, h, w, -1)
    found[:] = 0xDEADBEEF if out.is_bits else np.nan
    return found


def run_all(cases, folder):
    """Outputs of each (task, point, x, weights, operands), bits as signs; one library for all."""
    functions = {f"k{i}": families.function(c[0], c[1]) for i, c in enumerate(cases)}
    loaded = library(functions, folder)
    found = []
    for i, case in enumerate(cases):
        arrays = arrays_of(*case)
        call(loaded, f"k{i}", [a.ctypes.data for a in arrays])
        o, outputs = case[0].work.shape[3], case[0].epilogue.outputs
        found.append(
            [
                unpack_bits(a, o) if out.is_bits else a[..., :o]
                for a, out in zip(arrays[-len(outputs) :], outputs, strict=True)
            ]
        )
    return found


def run_program(program, loaded, inputs):
    """The outputs of a program by a library of its kernels; halos are written as its artifact's."""
    weights = aligned(max(64, len(program.weights)))
    weights[: len(program.weights)] = np.frombuffer(program.weights, np.uint8)
    arena = aligned(program.workspace)
    caller = {}
    for buffer, value in zip(program.inputs, inputs, strict=True):
        caller[buffer.id] = np.ascontiguousarray(value)
    for buffer in program.outputs:
        caller[buffer.id] = np.full(buffer.external, 99, buffer.layout.dtype)

    def start(buffer):
        at = caller.get(buffer.id)
        return arena.ctypes.data + buffer.offset if at is None else at.ctypes.data

    for step in program.steps:
        for buffer in step.writes:
            if buffer.needs_fill:
                _fill(buffer, arena)
        pointers = []
        for a in step.arguments:
            if a.buffer is None:
                pointers.append(weights.ctypes.data + a.weights)
            else:
                pointers.append(start(a.buffer) + (a.buffer.layout.interior if a.interior else 0))
        call(loaded, step.kernel, pointers)
    return [caller[b.id] for b in program.outputs]


def _fill(buffer, arena):
    layout = buffer.layout
    memory = arena[buffer.offset : buffer.offset + layout.bytes].view(layout.dtype)
    stored = memory.reshape(layout.physical)
    stored[:] = 0
    if layout.storage is Storage.BITS:
        stored[:] = pack_bits(np.full(layout.shape[3], buffer.fill == 1))
