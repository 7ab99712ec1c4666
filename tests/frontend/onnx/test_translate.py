import numpy as np
import pytest
import torch
from onnx import helper

from bnn_compiler.errors import ModelError, UnsupportedError
from bnn_compiler.frontend.incomplete import Incomplete
from bnn_compiler.frontend.onnx import operators
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.translate import translate
from bnn_compiler.network import Network
from bnn_compiler.options import DEFAULT
from tests.frontend.onnx import networks
from tests.frontend.onnx.graphs import images, model, single

N = helper.make_node


def translated(proto, *inputs):
    return translate(read(proto), [torch.from_numpy(x) for x in inputs])


def test_all_unknown_operators_at_once():
    nodes = [
        N("Relu", ["x"], ["a"]),
        N("Hardmax", ["a"], ["b"], "first"),
        N("Relux", ["b"], ["y"], "second", domain="mine"),
    ]
    with pytest.raises(Incomplete) as error:
        translated(model(nodes, {"x": (2, 3)}, domains=[("mine", 3)]), images(2, 3))
    assert str(error.value).startswith(
        "the ONNX model: Hardmax of node 'first' (opset 17): this operator cannot be compiled;"
        " nearest in name:"
    )
    assert "1 more operator cannot be either" in str(error.value)
    assert [(p.operator, p.layer) for p in error.value.problems] == [
        ("ONNX Hardmax", "first"),
        ("ONNX Relux", "second"),
    ]
    assert "Relu" in error.value.problems[1].why


@pytest.mark.parametrize(
    ("operator", "why"),
    [("LSTM", "recurrent"), ("If", "branch or loop"), ("DynamicQuantizeLinear", "at run time"),
     ("NonZero", "depends on the values"), ("RandomNormalLike", "random numbers")],
)  # fmt: skip
def test_why_some_cannot_be(operator, why):
    assert operators.find("", operator) is None
    assert why in operators.why_not("", operator)


def test_what_no_input_changes_is_folded():
    network = translated(networks.binary(), images(1, 3, 12, 12))
    done = [s.node.operator for s in network.steps()]
    assert "Shape" not in done and "Gather" not in done and done.count("Reshape") == 1
    assert network.known["to"][1].tolist() == [1, -1]


def test_names_are_the_nodes():
    nodes = [
        N("Relu", ["x"], ["a"], "/layer1/layer1.0/act/Relu"),
        N("Relu", ["a"], ["b"], "layer1_layer1_0_act_Relu"),
        N("Relu", ["b"], ["c"], "in"),
        N("Relu", ["c"], ["d"], "1x1"),
        N("Relu", ["d"], ["e"], "forward"),
        N("Relu", ["e"], ["y"]),
    ]
    network = translated(model(nodes, {"x": (2, 3)}), images(2, 3))
    assert network.order == [
        "layer1_layer1_0_act_Relu", "layer1_layer1_0_act_Relu_2", "nin", "n1x1", "forward_2",
        "Relu_y",
    ]  # fmt: skip


def test_inputs_have_their_names():
    nodes = [N("Add", ["other in.1", "self"], ["a"]), N("Add", ["a", "other_in_1"], ["y"])]
    given = dict.fromkeys(("other in.1", "self", "other_in_1"), (2, 3))
    proto, x = model(nodes, given), [images(2, 3, seed=i) for i in range(3)]
    graph = Network.of(proto, x).fused(DEFAULT)
    assert [p.name for p in graph.params] == ["other_in_1", "self_2", "other_in_1_2"]


@pytest.mark.parametrize(
    ("operator", "more"),
    [("MaxPool", {"kernel_shape": [2, 2]}), ("LayerNormalization", {"axis": 1})],
)
def test_results_that_cannot_be_compiled(operator, more):
    constants = [images(2, 4, 4)] if operator == "LayerNormalization" else []
    proto, given = single(
        operator, [images(1, 2, 4, 4), *constants], [1][: len(constants)], 2, **more
    )
    with pytest.raises(UnsupportedError, match=r"its output 'y1' \(number 2\) cannot be compiled"):
        translated(proto, *given)


def test_dropout_of_training_is_refused():
    held = [np.array(0.5, np.float32), np.array(True)]
    proto, given = single("Dropout", [images(2, 3), *held], [1, 2])
    with pytest.raises(UnsupportedError, match="it drops elements at random"):
        translated(proto, *given)


def test_constants_of_any_name():
    """Names of methods, of other constants, and the same one twice."""
    nodes = [N("Where", ["x", "forward", "to"], ["a"]), N("Add", ["a", "a.b"], ["b"])]
    nodes += [N("Add", ["a_b", "b"], ["y"]), N("Mul", ["to", "to"], ["z"])]
    held = {"forward": images(3), "to": images(3, seed=1), "a.b": images(3), "a_b": images(3)}
    x = images(2, 3) > 0
    network = translated(model(nodes, {"x": x}, ["y", "z"], held), x)
    y, z = network(torch.from_numpy(x))
    assert np.allclose(y, np.where(x, held["forward"], held["to"]) + held["a.b"] + held["a_b"])
    assert np.allclose(z, held["to"] ** 2)


def test_what_is_computed_and_has_to_be_known():
    shape = np.array([3, 2], np.int64)
    proto, given = single("Reshape", [images(2, 3), shape])
    with pytest.raises(
        UnsupportedError, match=r"Reshape of node 'the\.node' .* its shape is computed at run time"
    ):
        translated(proto, *given)


def test_shapes_that_do_not_go_together():
    proto, _ = single("Concat", [images(2, 3), images(2, 4)], axis=0)
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(ModelError, match=r"inputs of shapes \[2, 3\], \[2, 4\] do not go with it"):
        translated(proto, images(2, 3), images(2, 4))


def test_doubles_are_refused():
    nodes = [N("Cast", ["x"], ["a"], "wide", to=11), N("Cast", ["a"], ["y"], to=1)]
    with pytest.raises(UnsupportedError, match=r"node 'wide' .* a cast to float64"):
        translated(model(nodes, {"x": (2, 3)}), images(2, 3))
