import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.passes.elementwise import elementwise

X = relax.Var("x", relax.TensorType([1, 2, 2, 4], "float32"))
VECTOR = relax.const(np.ones(4, np.float32))


def test_a_step_has_its_operands_and_literals():
    affine = elementwise(ops.call_op("affine", [X, VECTOR, VECTOR]))
    assert affine is not None and affine.kind == "affine" and len(affine.operands) == 2
    clip = elementwise(relax.op.clip(X, 0, 6))
    assert (clip.kind, clip.operands, clip.params) == ("clip", (), (0.0, 6.0))
    sign = elementwise(ops.call_op("sign", [X], zero=-1))
    assert (sign.kind, sign.params) == ("sign", (-1.0,))
    add = elementwise(relax.op.add(X, X))
    assert (add.kind, add.operands) == ("add", (X,))


def test_anything_else_is_none():
    pool = relax.op.nn.max_pool2d(X, layout="NHWC")
    for other in (X, VECTOR, pool, relax.op.exp(X), ops.anchor("map", [X]), relax.Tuple([X])):
        assert elementwise(other) is None
