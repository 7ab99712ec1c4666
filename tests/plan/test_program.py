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


def bits(name, i, size, fill=0, halo=(1, 1, 1, 1)):
    return Buffer(i, "arena", name, Layout((1, size, size, 40), "uint32", halo), fill)


def overlap(a, b):
    return (
        a.offset < b.offset + b.layout.bytes
        and b.offset < a.offset + a.layout.bytes
        and a.layout.bytes * b.layout.bytes > 0
    )


def test_halos_that_are_kept_share_memory_with_their_like_alone():
    large = [Buffer(9 + i, "arena", f"f{i}", Layout((1, 9, 9, 40), "float32")) for i in range(3)]
    halos = [bits("a", 0, 4), bits("b", 1, 4), bits("c", 2, 4, fill=1), bits("d", 3, 5)]
    halos += [bits("e", 4, 4), bits("g", 5, 4, fill=1), bits("h", 6, 4, halo=(0, 0, 0, 0))]
    order = [large[0], halos[0], large[1], halos[1], halos[2], halos[3], halos[4], large[2]]
    order += halos[5:]
    steps = [Step(b.name, "bnn.map", "k", [], [a], [b]) for a, b in itertools.pairwise(order)]
    free = plan_memory(steps)
    # One memory for all does: two buffers are alive at a time.
    assert any(overlap(a, b) for a in halos for b in large)
    kept = plan_memory(steps, keep_halos=True)
    for one, other in itertools.combinations(order, 2):
        if overlap(one, other):
            filled = one.needs_fill or other.needs_fill
            assert not filled or (one.layout, one.fill) == (other.layout, other.fill)
            assert one.offset == other.offset or not filled
    for at in range(len(steps)):
        assert not overlap(*order[at : at + 2])
    assert halos[0].offset == halos[1].offset == halos[4].offset
    assert halos[2].offset == halos[5].offset != halos[0].offset
    assert max(b.offset + b.layout.bytes for b in order) <= kept
    assert free < kept < sum(b.layout.bytes for b in order)


def test_rows_of_bytes_are_read_in_fours_to_the_last():
    """An image of 64 bytes ends where another vector begins; its last four start in it."""
    image = Buffer(0, "arena", "image", Layout((1, 1, 64, 1), "uint8", dense=True))
    wide = Buffer(1, "arena", "wide", Layout((1, 1, 4, 16), "uint8"))
    assert plan_memory([Step("s", "bnn.map", "k", [], [], [image])]) == 128
    assert plan_memory([Step("s", "bnn.map", "k", [], [], [wide])]) == 64
