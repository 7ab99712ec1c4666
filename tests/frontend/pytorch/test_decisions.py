"""Where rounding decides an integer, and where it does not."""

import torch
from torch import nn

from bnn_compiler.frontend.oracle import Origin
from bnn_compiler.frontend.pytorch import oracle, trace


class _Nearly(nn.Module):
    """The least of a value and of the same with something too small for float32 to tell."""

    def forward(self, x):
        y = torch.stack((x.exp(), (x + 0.25 - 0.25).exp(), x.exp() - 1), 1)
        return y.argmax(1), y[:, 0] > y[:, 1], y[:, 0] > y[:, 2], (x.sign() == 0)


def test_near_ties_are_ambiguous_and_nothing_else():
    model, x = _Nearly().eval(), torch.arange(-50, 51.0).reshape(1, 101) / 75
    traced = trace.trace(model, (x,))
    seen = oracle.TorchOracle(model, traced, {}).observe([x.numpy()], set())
    index, above, far, zeros = seen.outputs
    assert index.ambiguous.all() and above.ambiguous.all()
    assert not far.ambiguous.any() and not zeros.ambiguous.any()
    assert index.value.dtype == "int64" and above.value.dtype == "bool"
    assert zeros.value.sum() == 1


def test_an_inner_decision_is_kept_as_numbers():
    model = nn.Sequential(nn.Flatten(), _Counts()).eval()
    x = torch.randn(2, 3, 4)
    traced = trace.trace(model, (x,))
    (inner,) = (n.name for n in traced.graph.nodes if "gt" in n.name)
    origins = {"inner": Origin(inner, (2, 1, 1, 12))}
    found = oracle.TorchOracle(model, traced, origins).observe([x.numpy()], {"inner"})
    kept = found.values["inner"]
    assert kept.value.dtype == "float32" and kept.ambiguous.shape == kept.value.shape
    assert kept.value.sum() == int((x > 0.5).sum()) and kept.rounding == 0


class _Counts(nn.Module):
    def forward(self, x):
        return (x > 0.5).sum(1)
