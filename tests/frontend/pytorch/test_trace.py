import pytest
import torch
from torch import nn
from torch.export import Dim, export

from bnn_compiler.errors import BnnCompilerError, InputError, ModelError
from bnn_compiler.network import Network
from tests.network import Function, assert_agrees, fused, image

IN_PLACE = {
    "relu": lambda m, x: torch.relu_(x) + 1,
    "add": lambda m, x: x.add_(1) * 2,
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_written_into_an_input_is_no_output(name):
    graph = assert_agrees(Function(IN_PLACE[name]), image(3))
    assert len(graph.outputs) == 1


def test_what_is_written_into_a_buffer_counts_once_and_is_no_output():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    model, x = Counting(), image(3)
    assert len(fused(model, x).outputs) == 1
    assert model.calls == 0
    assert_agrees(model, x)


OUTPUTS = {
    "the same twice": lambda m, x: [x + 1] * 2,
    "an input": lambda m, x: (x, x + 1),
    "nothing but an input": lambda m, x: x,
    "a dictionary": lambda m, x: tuple({"b": x + 1, "a": x * 2}.values()),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name):
    assert_agrees(Function(OUTPUTS[name]), image(3))


def test_nested_outputs_come_in_order():
    graph = fused(Function(lambda m, x: {"b": (x + 1, [x * 2]), "a": x}), image(3))
    assert len(graph.outputs) == 3


def test_an_output_that_is_no_tensor():
    with pytest.raises(ModelError, match="no tensor"):
        fused(Function(lambda m, x: (None, 3)), image(3))


def test_what_is_no_tensor_is_left_out_of_the_outputs():
    model = Function(lambda m, x: {"a": None, "b": (x + 1, None, 0, x * 2), "c": 0.5, "d": "bits"})
    assert len(fused(model, image(3)).outputs) == 2


@pytest.mark.parametrize("constant", [torch.rand(2, 3), torch.rand(1, 2, 3, 4), torch.tensor(0.5)])
def test_a_constant_output(constant):
    assert_agrees(Function(lambda m, x: (x + 1, constant, constant * 2)), image(3))


@pytest.mark.parametrize(
    "inputs, match",
    [
        ((torch.zeros(0, 3, 4, 4),), "at least 1"),
        ((torch.zeros(1, 0, 4, 4),), "at least 1"),
        ((torch.zeros(1, 3, 4, 4, dtype=torch.int16),), "int16; give float32"),
        ((torch.zeros(1, 3, 4, 4, dtype=torch.complex64),), "complex64"),
        (("text",), "is a str"),
        ((), "empty"),
        (torch.zeros(1, 3, 4, 4), "is a Tensor; give a tuple"),
        ((torch.zeros(()),), r"\[\]"),
    ],
)
def test_inputs_that_cannot_be_compiled(inputs, match):
    with pytest.raises(BnnCompilerError, match=match):
        Network.of(Function(lambda m, x: x + 1), inputs)


def test_a_program_exported_for_another_shape():
    program = export(nn.ReLU(), (image(3),))
    with pytest.raises(InputError, match=r"exported as \[1, 3, 6, 6\]"):
        fused_program(program, image(3, 8))


def test_a_program_with_a_dynamic_shape_has_that_of_the_inputs():
    program = export(nn.ReLU(), (image(3, batch=2),), dynamic_shapes=({0: Dim("n")},))
    for batch in (2, 5):
        assert fused_program(program, image(3, batch=batch)).inputs[0].shape == (batch, 3, 6, 6)
    with pytest.raises(ModelError, match="functionalise"):
        fused_program(program, image(4, 9)[:, :, 0])


def fused_program(program, x):
    from bnn_compiler.frontend.pytorch import trace

    return trace.trace(program, (x,))


def test_a_buffer_of_float64_matters_only_where_it_is_read():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("unused", torch.zeros(2, dtype=torch.float64))

        def forward(self, x):
            return x + 1

    assert_agrees(Model(), image(3))
    with pytest.raises(ModelError, match="float64"):
        fused(nn.Conv2d(3, 4, 3).double(), image(3))
