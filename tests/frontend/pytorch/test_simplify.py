import pytest
import torch

import bnn_compiler
from bnn_compiler import zoo
from bnn_compiler.frontend.pytorch import simplify, trace
from bnn_compiler.frontend.pytorch.trace import interpreter, op_name
from tests.author_style import AUTHOR_STYLE
from tests.network import Function, assert_agrees, image


@pytest.mark.parametrize("style", sorted(AUTHOR_STYLE))
def test_author_style_compiles_exactly(style, tmp_path):
    model, x = AUTHOR_STYLE[style](), torch.randn(2, 3, 20, 20)
    zoo.randomize(model, x)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    assert [k.op for k in report.kernels].count("bnn.conv2d") == 2
    assert len(report.signs) == 2
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("style", ["masked sign, flat weights", "mask", "larq"])
def test_training_arithmetic_is_gone(style):
    model, x = AUTHOR_STYLE[style](), torch.randn(1, 3, 12, 12)
    zoo.randomize(model, x)
    simple = simplify.simplify(trace.trace(model, (x,)))
    names = [op_name(n) for n in simple.graph.nodes]
    assert names.count("sign") == 2
    assert not {"lt", "detach", "where", "ge", "rsub", "clamp"} & set(names)
    (result,) = interpreter(simple).run(x)
    torch.testing.assert_close(result, model(x).detach(), rtol=1e-4, atol=1e-5)


def test_weights_fold_to_exactly_scale_times_sign():
    model = AUTHOR_STYLE["masked sign, flat weights"]()
    simple = simplify.simplify(trace.trace(model.eval(), (torch.randn(1, 3, 12, 12),)))
    kernels = [c for c in simple.constants.values() if tuple(c.shape) == (24, 24, 3, 3)]
    assert len(kernels) == 2
    for kernel in kernels:
        magnitude = kernel.abs().reshape(24, -1)
        assert torch.equal(magnitude, magnitude[:, :1].expand_as(magnitude))


WITHOUT_ELEMENTS = {
    "slices that are empty": lambda m, x: torch.cat([x[:, :0], x * 2, x[:, 3:]], 1),
    "joined from an empty tensor on": lambda m, x: torch.cat([torch.tensor([]), x + 1], 1) * 2,
    "sum over none": lambda m, x: x + x[:, :0].sum(1, keepdim=True),
    "more pieces than channels": lambda m, x: torch.cat(torch.tensor_split(x, 5, 1), 1) + 1,
}
COPIES = {
    "into zeros": lambda m, x: torch.zeros_like(x).copy_(x * 2) + 1,
    "spread": lambda m, x: torch.zeros_like(x).copy_((x * 2).mean(1, keepdim=True)) + x,
    "of another rank": lambda m, x: torch.zeros_like(x).copy_(x[0, 0]) + x,
}


@pytest.mark.parametrize("name", WITHOUT_ELEMENTS)
def test_what_has_no_element_is_constant(name):
    assert_agrees(Function(WITHOUT_ELEMENTS[name]), image(3))


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_what_was_copied(name):
    assert_agrees(Function(COPIES[name]), image(3))
