import numpy as np

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.plan.program import Argument, Buffer, Step, Weights


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
