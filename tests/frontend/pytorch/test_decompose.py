"""PyTorch's operators without a converter become others; what has neither is one clear error."""

from collections import defaultdict

import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend.pytorch import simplify, trace
from bnn_compiler.frontend.pytorch.moves import summed
from bnn_compiler.ops import evaluate
from tests.network import Applied, fused
from tests.operators.functions import FUNCTIONS
from tests.operators.modules import MODULES
from tests.operators.refused import REFUSED

#: As many are compiled as one network, whose export and passes would cost more than they do.
_TOGETHER = 12


class _Together(nn.Module):
    """Several modules on one input, a result each."""

    def __init__(self, *modules):
        super().__init__()
        self.each = nn.ModuleList(modules)

    def forward(self, x):
        return tuple(module(x) for module in self.each)


def _groups():
    """(shape, names) of cases that take the same input."""
    by_shape = defaultdict(list)
    for name, (_, shape) in (*MODULES.items(), *FUNCTIONS.items()):
        by_shape[shape].append(name)
    for shape, names in by_shape.items():
        for first in range(0, len(names), _TOGETHER):
            some = names[first : first + _TOGETHER]
            yield pytest.param(shape, some, id=f"{some[0]} to {some[-1]}")


def _module(name):
    return MODULES[name][0] if name in MODULES else Applied(FUNCTIONS[name][0])


@pytest.mark.parametrize(("shape", "names"), _groups())
def test_operators_are_what_pytorch_computes(shape, names):
    torch.manual_seed(0)
    model, x = _Together(*map(_module, names)).eval(), torch.randn(shape)
    graph = fused(model, x)
    values = evaluate.run(graph, [x.numpy()])
    with torch.no_grad():
        wanted = model(x)
    for name, out, expected in zip(names, graph.outputs, wanted, strict=True):
        found = torch.as_tensor(values[out])
        torch.testing.assert_close(
            found, expected, rtol=2e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name):
    function, shape, why = REFUSED[name]
    with pytest.raises(UnsupportedError, match=why):
        fused(Applied(function).eval(), torch.randn(shape))


def test_what_comes_of_an_operator_has_its_place_and_its_value():
    model, x = Applied(lambda x, glu: glu(x), nn.GLU()).eval(), torch.randn(2, 6)
    traced = trace.trace(model, (x,))
    made = [n for n in simplify.simplify(traced).graph.nodes if n.op == "call_function"]
    assert {str(n.meta["module_path"]) for n in made} == {"layers.0"}
    assert made[-1].meta["origin"] == "glu"


def test_sums_of_elements_at_equal_positions():
    x, at = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([2, 0, 2, 3])
    assert summed(x, at, (3,)).tolist() == [[0.0, 5.0, 8.0]]


def test_attention_and_a_recurrence_are_compiled(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.gru = nn.GRU(16, 8, batch_first=True)

        def forward(self, x):
            y, _ = self.attention(x, x, x, need_weights=False)
            return torch.einsum("btc,kc->btk", self.gru(x + y)[0], self.gru.weight_hh_l0)

    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(2, 4, 16)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    torch.testing.assert_close(net.run(x), model(x).detach(), rtol=1e-5, atol=1e-5)
    report = bnn_compiler.verify(net, model, [x])
    assert report.ok and not any(k.mismatches for k in report.kernels)
