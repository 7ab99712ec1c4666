"""Packed outputs on a GPU: a warp's 32 channels are the bits of one word."""

from collections.abc import Sequence
from dataclasses import replace

from tvm import te, tirx

from bnn_compiler.kernels.epilogue import Stages, stored
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.rounding import round_up

WORD = 32


def with_words(
    stages: Stages, epilogue: Epilogue, operands: Sequence[object], unit: int = WORD
) -> Stages:
    """The same kernel with packed outputs uint32 [N, OH, OW, words].

    Its value has whole ``unit``s of channels, then: "wide" is 0 where channels are missing. A float
    output of a kernel with packed ones too is a copy, "stored". ``operands`` are the epilogue's: as
    many of the last parameters.
    """
    if not any(out.is_bits for out in epilogue.outputs):
        return stages
    found = stages.params[len(stages.params) - len(operands) :]
    value, outputs, bits = widened(stages.value, unit), [], []
    for i, out in enumerate(epilogue.outputs):
        if out.is_bits:
            packed = _pack(value, found[out.threshold], out.compare, f"bits{i}")
            bits.append((packed, out.compare))
            outputs.append(packed)
        else:
            copied = te.compute(stages.value.shape, lambda *at: value[at], name="stored")
            outputs.append(stored(copied, out, f"half{i}"))
    return replace(stages, value=value, bits=bits, outputs=outputs)


def whole(stages: Stages, epilogue: Epilogue, operands: Sequence[object], unit: int) -> Stages:
    """``with_words``, and the same ``unit`` where no output is packed."""
    found = with_words(stages, epilogue, operands, unit)
    if found.bits:
        return found
    value = widened(stages.value, unit)
    outputs = [stored(value, out, f"half{i}") for i, out in enumerate(epilogue.outputs)]
    return replace(stages, value=value, outputs=outputs)


def widened(value: te.Tensor, unit: int) -> te.Tensor:
    """``value`` with whole ``unit``s of channels, 0 where they are missing."""
    n, h, w, lanes = (int(v) for v in value.shape)
    if lanes % unit == 0:
        return value

    def widen(i, y, x, c):  # type: ignore[no-untyped-def]
        return tirx.if_then_else(c < lanes, value[i, y, x, c], tirx.const(0, "float32"))

    return te.compute((n, h, w, round_up(lanes, unit)), widen, name="wide")


def _pack(value: te.Tensor, threshold: te.Tensor, compare: str, name: str) -> te.Tensor:
    """Bit b of word g is ``value[32 g + b] compare threshold``; missing channels have none.

    A sum of powers of two, which codegen.py makes a vote of the warp.
    """
    n, h, w, lanes = (int(v) for v in value.shape)
    lane = te.reduce_axis((0, WORD), "lane")
    known = int(threshold.shape[0])

    def pack(i, y, x, g):  # type: ignore[no-untyped-def]
        at = g * WORD + lane
        v, t = value[i, y, x, at], threshold[at]
        bit = v >= t if compare == ">=" else v > t
        if known < lanes:
            bit = tirx.if_then_else(at < known, bit, tirx.const(False, "bool"))
        word = tirx.shift_left(bit.astype("uint32"), lane.var.astype("uint32"))
        return te.sum(word, axis=[lane])

    return te.compute((n, h, w, lanes // WORD), pack, name=name)
