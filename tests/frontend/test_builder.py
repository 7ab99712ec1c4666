"""The builder as a front end without a framework uses it; modules are run by the reference."""

import numpy as np
import pytest

from bnn_compiler.errors import ModelError, UnsupportedError
from bnn_compiler.frontend import general
from bnn_compiler.frontend.builder import Builder
from bnn_compiler.frontend.oracle import Origin
from bnn_compiler.frontend.value import Place
from bnn_compiler.ops import evaluate
from bnn_compiler.ops.graph import Graph
from bnn_compiler.passes import pipeline


def _built(shape, write, name="v", layer="layer"):
    """(builder, the value) of what ``write(builder, x)`` makes of an input ``x``."""
    builder = Builder({"x": shape})
    with builder.main():
        builder.at(Place("x", "", "the input"))
        x = builder.input("x")
        builder.at(Place(name, layer, f"Op at '{layer}'"))
        value = write(builder, x)
        builder.output(value)
    return builder, value


def _computed(shape, write):
    """(x, the result), by numpy."""
    builder, value = _built(shape, write)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    graph = Graph.of(pipeline.run(builder.module()))
    result = evaluate.run(graph, [x])[graph.outputs[0]]
    assert result.shape == value.shape
    return x, result


C = np.arange(1, 4, dtype=np.float32)
COMPUTED = {
    "add a constant": (lambda b, x: b.add(x, C.reshape(3, 1, 1)), lambda x: x + C[:, None, None]),
    "from a constant": (lambda b, x: b.add(np.float32(2), x, -1), lambda x: 2 - x),
    "add": (lambda b, x: b.add(x, b.clip(x, -1, 1), 2), lambda x: x + 2 * x.clip(-1, 1)),
    "multiply": (lambda b, x: b.multiply(np.float32(3), x), lambda x: 3 * x),
    "divide": (lambda b, x: b.divide(x, C.reshape(1, 3, 1, 1)), lambda x: x / C[:, None, None]),
    "prelu": (lambda b, x: b.prelu(x, C), lambda x: np.where(x > 0, x, x * C[:, None, None])),
    "global mean": (lambda b, x: b.global_mean(x, flat=True), lambda x: x.mean((2, 3))),
    "flatten": (lambda b, x: b.flatten(x), lambda x: x.reshape(2, 48)),
    "vector": (lambda b, x: b.add(b.flatten(x), np.arange(48.0)),
               lambda x: x.reshape(2, 48) + np.arange(48)),
    "reshape": (lambda b, x: b.reshape(x, (2, 12, 2, 2)), lambda x: x.reshape(2, 12, 2, 2)),
    "concat": (lambda b, x: b.concat([x, b.clip(x, 0)]),
               lambda x: np.concatenate([x, x.clip(0)], 1)),
    "pad": (lambda b, x: b.pad(x, (1, 0, 2, 3), 0.5),
            lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), constant_values=0.5)),
    "max pool": (lambda b, x: b.max_pool2d(x, (2, 4), strides=(2, 4)),
                 lambda x: x.reshape(2, 3, 2, 2, 1, 4).max((3, 5))),
    "avg pool": (lambda b, x: b.avg_pool2d(x, (4, 2), strides=(4, 2)),
                 lambda x: x.reshape(2, 3, 1, 4, 2, 2).mean((3, 5))),
    "resize": (lambda b, x: b.resize2d(x, (8, 8), "nearest_neighbor", "asymmetric"),
               lambda x: x.repeat(2, 2).repeat(2, 3)),
    "conv2d": (lambda b, x: b.conv2d(x, np.diag(C).reshape(3, 3, 1, 1), C, strides=(2, 2)),
               lambda x: (x * C[:, None, None] + C[:, None, None])[:, :, ::2, ::2]),
    "linear": (lambda b, x: b.linear(b.flatten(x), np.eye(48)[:5], np.arange(5.0)),
               lambda x: x.reshape(2, 48)[:, :5] + np.arange(5)),
    "batch norm": (lambda b, x: b.batch_norm(x, C, None, -C, C**2, 0.0),
                   lambda x: x + C[:, None, None]),
    "sign": (lambda b, x: b.sign(x, 1), lambda x: np.where(x >= 0, 1.0, -1.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPUTED)
def test_values_are_nchw_to_the_caller(name):
    write, meaning = COMPUTED[name]
    x, found = _computed((2, 3, 4, 4), write)
    np.testing.assert_allclose(found, meaning(x), rtol=1e-5, atol=1e-6)


def test_matrices():
    x, found = _computed((2, 5), lambda b, x: b.multiply(x, np.arange(5.0)))
    np.testing.assert_allclose(found, x * np.arange(5), rtol=1e-6)


def test_names_are_the_layers_a_signs_is_the_values_and_all_are_unique():
    def write(builder, x):
        values = [builder.clip(x, 0), builder.sign(x, 1), builder.clip(x, 1)]
        names.extend(v.expr.name for v in values)
        return builder.concat(values)

    names = []
    _built((1, 3, 4, 4), write, name="/sign__7", layer="block.1//act__a")
    assert names[:2] == ["block_1_act_a", "_sign_7"]
    assert len(set(names)) == 3 and not any("__" in n for n in names)


def test_a_variable_remembers_the_first_value_that_it_is():
    def write(builder, x):
        y = builder.clip(x, 0)
        builder.remember(y, "relu:0")
        builder.remember(builder.flatten(y), "flat:0")
        z = builder.sign(y, 1)
        builder.remember(z, "sign:0", "relu:0")
        return z

    builder, _ = _built((1, 3, 4, 5), write)
    shape = (1, 4, 5, 3)
    assert builder.origins == {
        "layer": Origin("relu:0", shape), "v": Origin("sign:0", shape, "relu:0")
    }  # fmt: skip


W = np.ones((8, 3, 3, 3), np.float32)
REFUSED = {
    "a constant alone": (lambda b, x: b.add(C, C), "needs a computed tensor"),
    "a product": (lambda b, x: b.multiply(x, b.pad_channels(x, 1, 0)), "different shapes"),
    "a quotient": (lambda b, x: b.divide(np.ones(4), x), r"per channel \(3\)"),
    "along the width": (lambda b, x: b.multiply(x, np.arange(4.0)), r"per channel \(3\)"),
    "other channels": (lambda b, x: b.conv2d(x, W, groups=3), r"\[8, 3, 3, 3\] for 3 channels"),
    "a large window": (lambda b, x: b.conv2d(x, W, dilation=(2, 2)), "is larger than"),
    "cropped": (lambda b, x: b.pad(x, (0, -1, 0, 0)), r"padding \[0, -1, 0, 0\]"),
    "a pooled matrix": (lambda b, x: b.global_mean(b.flatten(x)), r"an image .*, not \[2, 48\]"),
    "an image": (lambda b, x: b.linear(x, np.eye(48)), r"a \[N, F\] input"),
    "other features": (lambda b, x: b.linear(b.flatten(x), np.eye(5)), "for 48 features"),
    "other shapes": (lambda b, x: b.add(x, b.flatten(x)), "different shapes"),
    "image and matrix": (lambda b, x: b.concat([x, b.flatten(x)]), "more than their channels"),
    "three dimensions": (lambda b, x: b.reshape(x, (2, 3, 16)), "2 or 4 dimensions"),
    "other elements": (lambda b, x: b.reshape(x, (2, 3)), "cannot become"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_name_the_place(name):
    write, match = REFUSED[name]
    with pytest.raises(UnsupportedError, match=rf"^Op at 'layer': .*{match}"):
        _built((2, 3, 4, 4), write)


def test_an_input_of_another_rank_is_plain():
    builder, _ = _built((1, 3, 4), lambda b, x: general.call(b, "exp", [x]))
    (param,) = builder.module()["main"].params
    assert tuple(int(v) for v in param.ty.shape) == (1, 3, 4)


def test_a_network_without_output():
    builder = Builder({"x": (1, 3, 4, 4)})
    with pytest.raises(ModelError, match="no output"), builder.main():
        builder.input("x")
