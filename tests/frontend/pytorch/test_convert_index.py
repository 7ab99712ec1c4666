"""Integers out of a network: indices, comparisons, casts; exactly the framework's."""

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend.pytorch import importer, simplify, trace
from bnn_compiler.ops import evaluate
from bnn_compiler.ops.graph import Graph


class _Of(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x)


def results(of, x):
    """What the imported network means, and what PyTorch says."""
    model = _Of(of).eval()
    traced = simplify.simplify(trace.trace(model, (x,)))
    graph = Graph.of(importer.import_graph(traced)[0])
    values = evaluate.run(graph, [x.numpy()])
    wanted = model(x)
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    return [values[v] for v in graph.outputs], wanted


CASES = {
    "argmax": lambda x: x.argmax(1),
    "argmax of everything": lambda x: x.argmax(),
    "argmax, kept": lambda x: x.argmax(-1, True),
    "argmax of everything, kept": lambda x: x.argmax(keepdim=True),
    "argmin": lambda x: torch.argmin(x, 2),
    "max of an axis": lambda x: x.max(1),
    "its index alone": lambda x: x.min(-2, keepdim=True)[1],
    "topk": lambda x: torch.topk(x, 3, 1),
    "the least of topk": lambda x: x.flatten(1).topk(4, 1, False),
    "comparisons": lambda x: (x > 0, x.abs() <= 1, x == x.round(), x != 1),
    "an index compared": lambda x: x.argmax(1) == 2,
    "how many": lambda x: (x > 0).sum((1, 2)),
    "cut": lambda x: ((x * 3).int(), (x * 3).long(), x.abs().to(torch.uint8)),
    "a number of rank 0": lambda x: (x.sum() > 0, x.argmin()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_frameworks_integers(name):
    for x in (torch.randn(2, 5, 6, 3), torch.randint(-1, 2, (2, 5, 6, 3)).float()):
        found, wanted = results(CASES[name], x)
        if "topk" in name:
            # Which of equal values comes first is not defined there.
            found, wanted = (found[:1], wanted[:1]) if x.unique().numel() < 4 else (found, wanted)
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.numpy().dtype and a.shape == b.shape
            np.testing.assert_array_equal(a, b.numpy())


def test_the_first_of_equal_values():
    x = torch.tensor([[1.0, 3.0, 3.0, 0.0, 0.0], [-np.inf] * 5])
    (values, indices, least), _ = results(lambda x: (*x.topk(3, 1), x.argmin(1)), x)
    np.testing.assert_array_equal(values, [[3, 3, 1], [-np.inf] * 3])
    np.testing.assert_array_equal(indices, [[1, 2, 0], [0, 1, 2]])
    np.testing.assert_array_equal(least, [3, 0])


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (lambda x: x.double(), "only float32"),
        (lambda x: x.to(torch.int16), "_to_copy is int16; float32, bool, uint8, int32, int64"),
    ],
)
def test_what_is_refused(of, why):
    with pytest.raises(UnsupportedError, match=why):
        results(of, torch.randn(2, 3, 4, 5))


class _Classes(nn.Module):
    """Pixels in classes, which of them is the first, and the three best of an image."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        stem = self.stem(x)
        signs = torch.where(stem >= 0, 1.0, -1.0)
        y = nn.functional.conv2d(signs, torch.sign(self.head.weight)) + stem[:, :5]
        classes = y.argmax(1)
        return classes, (classes == 0), y.mean((2, 3)).topk(3)[1].int(), y


def test_an_artifact_gives_the_frameworks_dtypes(tmp_path):
    model, x = _Classes().eval(), torch.randn(2, 3, 7, 5)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    wanted = model(x)
    assert [t.dtype for t in net.description.outputs] == ["int64", "bool", "int32", "float32"]
    for found, right in zip(net.run(x)[:3], wanted[:3], strict=True):
        assert found.dtype == right.dtype and torch.equal(found, right)
    arrays = net.run(x.numpy())
    out = tuple(np.empty_like(a) for a in arrays)
    assert net.run(x.numpy(), out=out)[0] is out[0]
    assert all(np.array_equal(a, b) for a, b in zip(arrays, out, strict=True))
    report = bnn_compiler.verify(net, model, [x, x.flip(0)])
    assert report.ok, report.text()
    assert [o.exact for o in report.outputs] == [True, True, True, False]
    assert "100.0% equal" in report.text()
