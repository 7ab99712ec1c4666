"""The table of operators against what else is keyed by their names, and against itself."""

import numpy as np
import pytest
from tvm import relax

from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import normalized
from bnn_compiler.ops.operators import OPERATORS, pool_attrs
from bnn_compiler.ops.window import Window
from bnn_compiler.plan.tasks import TASKS
from bnn_compiler.runtime import bounds

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 9, 5)).astype(np.float32)
SIGNS = np.where(X > 0, 1, -1).astype(np.int8)
BYTES = RNG.integers(0, 256, X.shape).astype(np.uint8)
VECTOR = RNG.normal(size=5).astype(np.float32)
WEIGHTS = RNG.normal(size=(4, 3, 3, 5)).astype(np.float32)
WINDOW = Window((3, 3), (2, 2), (1, 1, 2, 0)).attrs()
CONV = {**WINDOW, "groups": 1}
RESIZE = {"method": "linear", "transform": "half_pixel", "size": [5, 6], "factors": [0.0, 0.0]}

#: Data, attributes, and how many of the data are values: the rest are constants.
EXAMPLES = {
    "sign": ([X], {"zero": 1}, 1),
    "affine": ([X, VECTOR, VECTOR], {}, 1),
    "bits_max_pool2d": ([SIGNS, np.array([9], np.uint32)], {**WINDOW, "channels": 5}, 1),
    "map": ([X], {}, 1),
    "conv2d": ([SIGNS, np.sign(WEIGHTS).astype(np.int8)], {**CONV, "pad_value": 0}, 1),
    "float_conv2d": ([X, WEIGHTS], CONV, 1),
    "winograd_conv2d": (
        [X[:, :, :8].transpose(0, 3, 1, 2), WEIGHTS],
        {**CONV, "padding": [1] * 4},
        1,
    ),
    "half_conv2d": ([X, WEIGHTS], CONV, 1),
    "half_image_conv2d": ([X.transpose(0, 3, 1, 2), WEIGHTS], CONV, 1),
    "half_pooled_conv2d": (
        [X.transpose(0, 3, 1, 2), WEIGHTS, VECTOR[:4], VECTOR[1:]],
        {**CONV, **pool_attrs(Window((2, 2), (2, 1), (1, 0, 0, 1)))},
        1,
    ),
    "bytes": ([BYTES], {}, 1),
    "byte_conv2d": (
        [BYTES, (99 * WEIGHTS).astype(np.int16), VECTOR[:4], WEIGHTS[..., 0].astype(np.float64)],
        CONV,
        1,
    ),
    "int8_conv2d": (
        [BYTES, (9 * WEIGHTS).astype(np.int8), VECTOR[:4], WEIGHTS[..., 0].astype(np.float64)],
        CONV,
        1,
    ),
    "image_bytes": ([X, *np.ones((2, X.shape[1]), np.float32)], {}, 1),
    "max_pool2d": ([X], WINDOW, 1),
    "avg_pool2d": ([X], {**WINDOW, "count_include_pad": False}, 1),
    "global_mean": ([X], {}, 1),
    "resize2d": ([X], RESIZE, 1),
    "pad": ([X], {"padding": [1, 2, 0, 3], "pad_value": -1.0}, 1),
    "tile": ([X], {"start": 3, "channels": 9}, 1),
    "pad_channels": ([X], {"before": 1, "after": 2, "pad_value": -1.0}, 1),
    "concat": ([X, X], {"inputs": 2}, 2),
    "matmul": ([SIGNS, SIGNS[:, :, :4]], {"low": [-1, 0]}, 2),
    "tokens": ([X], {"shape": [2, 1, 72, 5]}, 1),
    "plain": ([X], {"shape": [2, 2, 36, 5]}, 1),
    "function": ([X], {"function": "sigmoid", "params": []}, 1),
    "general": (
        [X, X],
        {"inputs": 2, "program": ["sub(a0,a1)", "slice(t0;[0,1,0,0],[1,2,1,1],[2,3,9,5])"]},
        2,
    ),
}


def example(name):
    """The call, and its result by the reference; its data that are values are variables."""
    arrays, attrs, variables = EXAMPLES[name]
    values, args = {}, []
    for i, a in enumerate(arrays):
        if i >= variables:
            args.append(relax.const(a))
            continue
        n, h, w, c = a.shape
        bits = a.dtype == np.int8
        shape, dtype = ((n, h, w, ops.words(c)), "uint32") if bits else (a.shape, str(a.dtype))
        args.append(relax.Var(f"x{i}", relax.TensorType(list(shape), dtype)))
        values[args[-1]] = a
    make = ops.anchor if OPERATORS[name].anchor else ops.call_op
    call = make(name, args, **attrs)
    return call, evaluate.run_call(call, values)


def test_tables_name_the_same_operators():
    assert set(EXAMPLES) == set(OPERATORS)
    assert set(TASKS) == {name for name, o in OPERATORS.items() if o.anchor}
    assert set(bounds.ARITHMETIC) <= {f"bnn.{name}" for name in OPERATORS}
    sources = [o.source for o in OPERATORS.values() if o.source]
    assert len(set(sources)) == len(sources)
    assert all(OPERATORS[name].anchor for name, o in OPERATORS.items() if o.source)


@pytest.mark.parametrize("name", OPERATORS)
def test_shape_rule_and_relax_type_are_those_of_the_meaning(name):
    call, result = example(name)
    assert ops.bnn_name(call) == name
    assert ops.value_shape(call) == result.shape
    stored = normalized(call).ty
    bits = result.dtype == np.int8
    assert str(stored.dtype) == ("uint32" if bits else OPERATORS[name].dtype(call.attrs))
    n, h, w, c = result.shape
    assert tuple(map(int, stored.shape)) == (n, h, w, ops.words(c) if bits else c)


def test_plain_operators_mean_what_they_say():
    _, signs = example("sign")
    np.testing.assert_array_equal(signs, SIGNS)
    _, tiled = example("tile")
    np.testing.assert_array_equal(tiled, np.concatenate([X[..., 3:], X, X[..., :2]], axis=3))
    _, padded = example("pad_channels")
    np.testing.assert_array_equal(padded[..., 1:6], X)
    assert (padded[..., [0, 6, 7]] == -1).all()
    _, scaled = example("affine")
    np.testing.assert_allclose(scaled, X * VECTOR + VECTOR, rtol=1e-6, atol=1e-6)


def test_names():
    x = relax.Var("x", relax.TensorType([1, 2, 2, 4], "float32"))
    calls = [ops.anchor("map", [x]), ops.call_op("sign", [x], zero=1), relax.op.abs(x), x]
    assert [ops.called(c) for c in calls] == ["relax.bnn.map", "relax.bnn.sign", "relax.abs", ""]
    assert [ops.bnn_name(c) for c in calls] == ["map", "sign", "", ""]
    assert [ops.anchor_name(c) for c in calls] == ["map", "", "", ""]
    # Relax's pool is not the anchor of that name.
    assert ops.bnn_name(relax.op.nn.max_pool2d(x)) == ""


def test_convolutions_read_their_padding_from_the_halo():
    found = {name for name in OPERATORS if ops.reads_halo(example(name)[0])}
    assert found == {"conv2d", "float_conv2d", "half_conv2d", "byte_conv2d", "int8_conv2d"}
