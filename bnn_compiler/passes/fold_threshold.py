"""FoldThreshold: batch norm (and any per-channel chain) then sign becomes one integer threshold."""

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.blocks import blocks
from bnn_compiler.ops.epilogue import Epilogue, Output
from bnn_compiler.ops.graph import Graph, array


class FoldThreshold:
    """A binary convolution of which only sign bits are kept compares its integer with a number.

        bnn.conv2d(x, w, s, b, z; epilogue=["affine:0:1"], outputs=["bits>=:2"])
            -> bnn.conv2d(x, w', t; epilogue=[], outputs=["bits>=:0"])

    The chain is evaluated, with the arithmetic the kernel would use, on every integer a channel
    can reach, so each gets the decision of the float formula. Where the decision falls instead of
    rises (a negative gain) the weights change sign; where it never changes (a zero gain) the
    threshold is infinite. A chain that is not monotone on the integers is left alone.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.anchor_name(value) == "conv2d":
                folded = _fold(value)
                if folded is not None:
                    graph.set(var, folded)
        return graph.module()


def _fold(call: relax.Call) -> relax.Call | None:
    epilogue = ops.epilogue_of(call)
    if len(epilogue.outputs) != 1 or not epilogue.outputs[0].is_bits or not epilogue.steps:
        return None
    if any(s.reads_tensor for s in epilogue.steps):
        return None
    operands = [array(a) for a in call.args[2:]]
    weights = array(call.args[1])
    found = thresholds(epilogue, operands, int(np.prod(weights.shape[1:])))
    if found is None:
        return None
    threshold, negate = found
    signs = np.where(negate[:, None, None, None], -weights, weights)
    return ops.anchor(
        "conv2d",
        [call.args[0], relax.const(signs)],
        Epilogue((), (Output(">=", 0),)),
        [relax.const(threshold)],
        **ops.anchor_attrs(call),
    )


def thresholds(
    epilogue: Epilogue, operands: list[np.ndarray], reach: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Per channel (threshold float32 [C], negate bool [C]); None if a channel is not monotone.

    The bit is ``value >= threshold`` of the integer in [-reach, reach], negated first if asked.
    """
    channels = operands[0].shape[0]
    threshold, negate = np.empty(channels, np.float32), np.empty(channels, bool)
    for part in blocks(channels, 2 * reach + 1):
        found = _thresholds(epilogue, [o[part] for o in operands], reach)
        if found is None:
            return None
        threshold[part], negate[part] = found
    return threshold, negate


def _thresholds(
    epilogue: Epilogue, operands: list[np.ndarray], reach: int
) -> tuple[np.ndarray, np.ndarray] | None:
    integers = np.arange(-reach, reach + 1, dtype=np.float32)
    grid = np.broadcast_to(integers[:, None], (integers.size, len(operands[0])))
    (bits,) = epilogue.apply(grid, operands)
    decided = bits > 0
    changes = (decided[1:] != decided[:-1]).sum(axis=0)
    if np.any(changes > 1):
        return None
    rising = ~decided[0] & decided[-1]
    falling = decided[0] & ~decided[-1]
    first = integers[np.argmax(decided, axis=0)]
    last = integers[integers.size - 1 - np.argmax(decided[::-1], axis=0)]
    constant = np.where(decided[0], -np.inf, np.inf)
    threshold = np.where(rising, first, np.where(falling, -last, constant))
    return threshold, falling
