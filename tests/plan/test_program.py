import itertools

import numpy as np

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.plan.program import (
    ALIGN,
    Argument,
    Buffer,
    Step,
    Weights,
    largest_live,
    plan_memory,
)


def test_weights_know_the_size_of_each_constant():
    weights = Weights()
    offsets = [weights.add(np.zeros(n, np.float32)) for n in (3, 20, 3)]
    assert offsets == [0, 64, 0]
    assert weights.sizes == {0: 12, 64: 80}


def test_traffic_counts_each_buffer_and_constant_once():
    bits = Buffer(0, "arena", "a", Layout((1, 4, 4, 32), "uint32", (1, 1, 1, 1)))
    real = Buffer(1, "arena", "b", Layout((1, 4, 4, 3), "float32"))
    constant = Argument(weights=64, size=80)
    arguments = [Argument(buffer=bits), constant, constant, Argument(weights=0, size=12)]
    step = Step("a", "bnn.conv2d", "k", arguments, [bits, bits], [real])
    assert step.traffic == {
        "bytes_read": 4 * 6 * 6,
        "bytes_written": 4 * 16 * 16,
        "bytes_weights": 92,
    }


def chain(sizes):
    """Steps that each read what the one before wrote, (1, 1, size, 16) floats."""
    buffers = [
        Buffer(i, "arena", f"b{i}", Layout((1, 1, size, 16), "float32"))
        for i, size in enumerate(sizes)
    ]
    return buffers, [
        Step(f"s{i}", "bnn.map", "k", [], [source], [result])
        for i, (source, result) in enumerate(itertools.pairwise(buffers))
    ]


def test_what_is_alive_together_lies_apart():
    buffers, steps = chain([4, 1, 3, 2, 5])
    size = plan_memory(steps)
    for at in range(len(steps)):
        alive = sorted(buffers[at : at + 2], key=lambda b: b.offset)
        assert alive[0].offset + alive[0].layout.bytes <= alive[1].offset
    assert all(b.offset % ALIGN == 0 for b in buffers)
    assert size == max(b.offset + b.layout.bytes for b in buffers)
    assert largest_live(steps) == 64 * (2 + 5) <= size < sum(b.layout.bytes for b in buffers)


def test_inputs_and_outputs_take_no_place_in_the_arena():
    buffers, steps = chain([4, 1, 3])
    buffers[0].kind, buffers[2].kind = "input", "output"
    assert plan_memory(steps) == largest_live(steps) == 64
    assert plan_memory([]) == ALIGN and largest_live([]) == 0
