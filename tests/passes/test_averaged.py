import pytest
import torch
from torch.nn import functional as F
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.passes.averaged import averaged


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "wanted"),
    [(6, 3, 1, 1, 36), (6, 3, 2, 1, 36), (4, 2, 2, 1, 4), (5, 2, 1, 0, 4), (2, 5, 1, 2, 4)],
)
def test_it_is_a_multiple_of_every_count(size, kernel, stride, padding, wanted):
    x = relax.Var("x", relax.TensorType([1, size, size, 1], "float32"))
    pool = relax.op.nn.avg_pool2d(
        x, [kernel] * 2, [stride] * 2, [padding] * 4, layout="NHWC", count_include_pad=False
    )
    ones = torch.ones(1, 1, size, size)
    inside = F.avg_pool2d(ones, kernel, stride, padding, divisor_override=1).unique().tolist()
    out = F.avg_pool2d(ones, kernel, stride, padding).shape[2]
    expr = relax.Var("y", relax.TensorType([1, out, out, 1], "float32"))
    found = averaged(expr, pool)
    assert found == wanted and all(found % n == 0 for n in inside)
    assert ops.is_op(pool, "relax.nn.avg_pool2d")
