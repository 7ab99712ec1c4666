"""A new operator is a row of OPERATORS, its task and its kernel: no other file knows it."""

import numpy as np
import pytest
from tvm import relax

from bnn_compiler.kernels.cpu import plain
from bnn_compiler.kernels.epilogue import finish, placeholder, read
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.operators import OPERATORS, Operator
from bnn_compiler.plan.tasks import TASKS, Request
from tests.network import anchors, names
from tests.toys.written import compiled, network_of


def mirror(x, epilogue, tensors):
    """Columns from right to left."""
    data = placeholder(x, "x")
    at = read(data, x)
    last = x.shape[2] - 1
    return finish(x.shape, lambda n, y, z, c: at(n, y, last - z, c), epilogue, tensors, [data])


def stages(task):
    return mirror(task.data[0], task.epilogue, list(task.tensors))


@pytest.fixture
def mirrored(monkeypatch):
    operator = Operator(
        1, lambda _, shapes: shapes[0], lambda _, x: x[:, :, ::-1], source="relax.flip"
    )
    monkeypatch.setitem(OPERATORS, "mirror", operator)
    monkeypatch.setitem(TASKS, "mirror", Request.plain)
    monkeypatch.setitem(plain.STAGES, "mirror", stages)


def prelu(emit, x):
    slope = np.linspace(-1, 1, ops.shape_of(x)[3]).astype(np.float32)
    return emit(relax.op.nn.prelu(x, relax.const(slope), axis=3))


def test_mirror_is_an_anchor_with_an_epilogue(mirrored, tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 7)).astype(np.float32)
    network = network_of(lambda emit, image: prelu(emit, emit(relax.op.flip(image, 2))), 5, 7)
    graph, found, _ = compiled(network, x, tmp_path / "net.bnn", monkeypatch)
    assert names(graph) == ["permute_dims", "bnn.mirror", "permute_dims"]
    (call,) = anchors(graph, "mirror")
    assert [s.kind for s in ops.epilogue_of(call).steps] == ["prelu"]
    positive = x[..., ::-1] > 0
    np.testing.assert_array_equal(found[positive], x[..., ::-1][positive])


def test_a_call_that_a_front_end_writes_is_fused_too(mirrored, tmp_path, monkeypatch):
    x = np.random.default_rng(1).normal(size=(1, 5, 7, 7)).astype(np.float32)
    network = network_of(lambda emit, y: prelu(emit, emit(ops.anchor("mirror", [y]))), 5, 7)
    graph, *_ = compiled(network, x, tmp_path / "net.bnn", monkeypatch)
    assert names(graph) == ["permute_dims", "bnn.mirror", "permute_dims"]
