"""Hypothesis draws convolutions of any shape, each with any epilogue and one of its schedules."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from bnn_compiler import families
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.epilogue import STEPS, Epilogue, Output, Step
from bnn_compiler.ops.functions import FUNCTIONS

#: Steps that a drawn epilogue has; functions have tests of their own, one is enough here.
_STEPS = [*sorted(set(STEPS) - set(FUNCTIONS)), "tanh"]
#: Multiply-accumulates of a kernel at most: they are emulated.
_WORK = 2_000_000


@dataclass(frozen=True)
class Case:
    """A kernel, and what it is run on follows from ``seed``."""

    task: Task
    point: Point
    seed: int


@st.composite
def cases(draw, hardware, dtype):
    """Of the families that ``hardware`` has for images of ``dtype``."""
    task = draw(tasks(dtype).filter(lambda t: t.work.macs <= _WORK))
    found = families.fitting(task, hardware)
    family = draw(st.sampled_from(found))
    point = draw(st.sampled_from([family.rule(task, hardware), *family.points(task, hardware)]))
    return Case(task, point, draw(st.integers(0, 9)))


@st.composite
def tasks(draw, dtype):
    """A convolution, and an epilogue of its shape."""
    work = draw(works(dtype))
    epilogue, tensors = draw(epilogues(work.shape))
    return Task(work, epilogue, tensors)


@st.composite
def works(draw, dtype):
    """Rectangles with halos that are no smaller than the padding; groups down to depthwise."""
    is_bytes = dtype == "int16"
    channels, outputs, groups = draw(_channels(st.just(1) if is_bytes else st.integers(1, 40)))
    kernel, strides = (draw(st.tuples(*[st.integers(1, most)] * 2)) for most in (4, 3))
    dilation = draw(st.tuples(*[st.integers(1, 1 if is_bytes else 2)] * 2))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    halo = tuple(p + draw(st.integers(0, 1)) for p in padding)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    around = (padding[0] + padding[2], padding[1] + padding[3])
    least = [max(1, r - p) for r, p in zip(reach, around, strict=True)]
    sizes = [n + draw(st.integers(0, 6)) for n in least]
    shape = [(n + p - r) // s + 1 for n, p, r, s in zip(sizes, around, reach, strides, strict=True)]
    batch = draw(st.sampled_from([1, 1, 2, 3]))
    pad_value = draw(st.sampled_from([0, 1, -1])) if dtype == "uint32" else 0
    x = Layout((batch, *sizes, channels), dtype, halo, is_bytes)
    whole = (batch, *shape, outputs)
    return ConvWorkload(x, whole, kernel, strides, dilation, padding, groups, pad_value)


@st.composite
def _channels(draw, count):
    """(inputs, outputs, groups)."""
    groups = draw(st.one_of(st.just(1), count))
    most = max(1, 200 // groups)
    inputs, outputs = (draw(st.integers(1, most)) * groups for _ in range(2))
    return inputs, outputs, groups


@st.composite
def epilogues(draw, shape):
    """(epilogue, layouts of its operands): up to three steps, one to three results."""
    steps, tensors = [], []
    for kind in draw(st.lists(st.sampled_from(_STEPS), max_size=3)):
        found = STEPS[kind]
        first = len(tensors)
        operands = [None] * found.operands
        if found.tensor:
            operands = [draw(_operand(kind, shape))]
        tensors += operands
        params = (-0.5, 0.75)[: found.params]
        steps.append(Step(kind, tuple(range(first, len(tensors))), params))
    outputs = []
    kinds = st.sampled_from([("",), (">=",), (">",), ("", ">="), ("", ">", ">="), (">", ">=")])
    for compare in draw(kinds):
        outputs.append(Output(compare, len(tensors)) if compare else Output())
        tensors += [None] if compare else []
    return Epilogue(tuple(steps), tuple(outputs)), tuple(tensors)


@st.composite
def _operand(draw, kind, shape):
    """A tensor that a step reads: as large, or as its kind wants it."""
    n, h, w, c = shape
    if "avg2" in kind:
        h, w = 2 * h, 2 * w
    if "tile" in kind or kind == "add_pad":
        c = draw(st.integers(1, c))
    elif "avg2" not in kind and draw(st.booleans()):
        # A dimension of 1 is repeated.
        repeated = draw(st.tuples(*[st.booleans()] * 2))
        h, w = (1 if r else v for r, v in zip(repeated, (h, w), strict=True))
    halo = draw(st.tuples(*[st.integers(0, 1)] * 4))
    return Layout((n, h, w, c), "float32", halo)


def values(case):
    """Image, weights and the epilogue's operands, as kernel.inputs has them."""
    rng, work = np.random.default_rng(case.seed), case.task.work
    c, o = work.x.shape[3], work.shape[3]
    shape = (o, *work.kernel, c // work.groups)
    operands = [
        rng.normal(size=o if t is None else t.shape).astype(np.float32) for t in case.task.tensors
    ]
    if work.x.dtype == "uint32":
        signs = [rng.choice(np.array([-1, 1], np.int8), s) for s in (work.x.shape, shape)]
        return signs[0], signs[1:], operands
    if work.x.dtype == "int16":
        weights = [
            rng.integers(-3000, 3000, shape, np.int16),
            (1e-5 * rng.normal(size=o)).astype(np.float32),
            rng.normal(size=shape[:3]),
        ]
        return rng.integers(0, 256, work.x.shape, np.uint8), weights, operands
    floats = [rng.normal(size=s).astype(np.float32) for s in (work.x.shape, shape)]
    return floats[0], floats[1:], operands
