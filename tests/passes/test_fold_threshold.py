import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.ops.graph import Graph
from bnn_compiler.ops.relax_ops import epilogue_of
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.fold_threshold import thresholds
from tests.network import after, anchors, image

FLOATS = st.floats(-50, 50, width=32)
CHAIN = Epilogue((Step("affine", (0, 1)),), (Output(">=", 2),))


@given(scale=FLOATS, bias=FLOATS, reach=st.integers(1, 60))
@settings(deadline=None, max_examples=200)
def test_every_reachable_integer_gets_the_float_decision(scale, bias, reach):
    operands = [np.array([v], np.float32) for v in (scale, bias, 0.0)]
    threshold, negate = thresholds(CHAIN, operands, reach)
    integers = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
    (wanted,) = CHAIN.apply(integers, operands)
    found = np.where(negate, -integers, integers) >= threshold
    np.testing.assert_array_equal(found, wanted > 0)


def test_only_bits_leave_no_float_chain():
    model = nn.Sequential(
        Sign(), BinaryConv2d(5, 8, 3), nn.BatchNorm2d(8), Sign(), BinaryConv2d(8, 4, 1)
    )
    module = after(model, image(5)).module()
    first, second = anchors(Graph.of(pipeline.run(module)), "conv2d")
    assert epilogue_of(first).steps == ()
    assert [s.kind for s in epilogue_of(second).steps] == ["affine"]


def test_a_chain_that_is_not_monotone_is_left_alone():
    steps = (Step("affine", (0, 1)), Step("prelu", (3,)))
    chain = Epilogue(steps, (Output(">=", 2),))
    operands = [np.array([v], np.float32) for v in (1.0, 0.0, 2.0, -1.0)]
    assert thresholds(chain, operands, 9) is None
