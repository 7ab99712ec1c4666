"""A layer is one binary kernel, or as many as its kind needs: each kind of public networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler import cli
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.latency.preview import preview
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from tests.network import anchors, assert_agrees, fused, names
from tests.spellings.spelling import settle

TARGET = "x86-64-v3"


class Sign(torch.autograd.Function):
    """torch.sign, which leaves 0 at 0."""

    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)


class Conv(nn.Conv2d):
    """Signs of both, times a scale for each filter."""

    def activations(self, x):
        return Sign.apply(x)

    def weights(self):
        w = self.weight
        return Sign.apply(w - w.mean((1, 2, 3), keepdim=True)) * w.abs().mean(
            (1, 2, 3), keepdim=True
        )

    def forward(self, x):
        return self._conv_forward(self.activations(x), self.weights(), self.bias)


class OfAnImage(Conv):
    """Signs of an image that is centred and normalised as a whole."""

    def activations(self, x):
        x = x - x.mean((1, 2, 3), keepdim=True)
        return Sign.apply(x / x.std((1, 2, 3), keepdim=True))


class TwoLevels(Conv):
    """Two levels of both, each with a centre of its own."""

    def activations(self, x):
        return 0.8 * (Sign.apply((x - 0.07) / 0.8) + 0.07)

    def weights(self):
        return super().weights() + self.weight.mean((1, 2, 3), keepdim=True)


class ZeroOrOne(Conv):
    """Weights that are there or not."""

    def weights(self):
        return (self.weight > 0).float() * 0.3


class Ternary(Conv):
    """Small weights are 0 (TWN), and with ``sides`` the others of two sizes (TTQ)."""

    sides = (1.0, 1.0)

    def weights(self):
        w, far = self.weight, 0.7 * self.weight.abs().mean()
        return (w > far).float() * 0.3 * self.sides[0] - (w < -far).float() * 0.3 * self.sides[1]


class Unequal(Ternary):
    """TTQ."""

    sides = (1.25, 0.5)


class Maxout(nn.Module):
    """A line on either side of 0, by two ReLUs."""

    def __init__(self, channels):
        super().__init__()
        self.left, self.right = (nn.Parameter(torch.rand(channels) + 0.2) for _ in range(2))

    def forward(self, x):
        left, right = (p.view(1, -1, 1, 1) for p in (self.left, self.right))
        return right * F.relu(x) - left * F.relu(-x)


def every_other(x, pad):
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad), "constant", 0)


def averaged(x, pad):
    return F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, pad, pad), "constant", 0)


class Block(nn.Module):
    """Two layers, each with its shortcut."""

    def __init__(self, conv, channels, wider, shortcut, act=lambda channels: nn.Hardtanh()):
        super().__init__()
        stride, pad = (2, (wider - channels) // 2) if wider > channels else (1, 0)
        self.conv1 = conv(channels, wider, 3, stride, 1, bias=False)
        self.conv2 = conv(wider, wider, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(wider), nn.BatchNorm2d(wider)
        self.act1, self.act2 = act(wider), act(wider)
        self.shortcut = (lambda x: shortcut(x, pad)) if pad else nn.Identity()

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(x)) + self.shortcut(x))
        return self.act2(self.bn2(self.conv2(x)) + x)


def residual(conv, shortcut=every_other, act=lambda channels: nn.Hardtanh(), wider=12):
    """Four binary layers, at 8 channels and then at ``wider``."""
    blocks = [Block(conv, a, b, shortcut, act) for a, b in ((8, 8), (8, wider))]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), act(8), *blocks)


def one(conv):
    return nn.Sequential(nn.Conv2d(3, 8, 3), conv(8, 6, 3, padding=1, bias=False))


class Flattened(nn.Module):
    """A linear layer whose signs are behind a pool and a batch norm of features."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(3), nn.Flatten())
        self.norm, self.linear = nn.BatchNorm1d(8 * 9), nn.Linear(8 * 9, 5)

    def forward(self, x):
        signs = Sign.apply(self.norm(self.stem(x)))
        return F.linear(signs, Sign.apply(self.linear.weight))


#: (network, kernels with all outputs, kernels with one)
KINDS = {
    "clipped shortcuts, every other pixel": (lambda: residual(Conv), 4, 0),
    "clipped shortcuts, averaged": (lambda: residual(Conv, averaged), 4, 0),
    "signs of a whole image": (lambda: residual(OfAnImage), 4, 0),
    "two levels behind Maxout": (lambda: residual(TwoLevels, act=Maxout, wider=8), 4, 4),
    "flattened behind a pool": (Flattened, 1, 0),
    "weights of 0 and 1": (lambda: one(ZeroOrOne), 1, 1),
    "ternary weights": (lambda: one(Ternary), 2, 0),
    "ternary weights of two sizes": (lambda: one(Unequal), 2, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_work_is_done_twice(kind):
    make, full, single = KINDS[kind]
    model = settle(make(), (2, 3, 12, 12))
    graph = assert_agrees(model, torch.randn(2, 3, 12, 12))
    outputs = [ops.shape_of(v.args[1])[0] for v in anchors(graph, "conv2d")]
    assert (sum(o > 1 for o in outputs), outputs.count(1)) == (full, single)
    assert "bnn.general" not in names(graph) or kind == "signs of a whole image"


@pytest.mark.parametrize("conv", [Ternary, Unequal])
def test_ternary_weights_are_named(conv):
    torch.manual_seed(1)
    found = preview(one(conv), (torch.randn(1, 3, 8, 8),), target=TARGET, options=Options())
    notes = [line.what.partition(", ")[2] for line in found.lines if line.kind == "binary"]
    assert [n.startswith("ternary weights, ") for n in notes].count(True) == 2
    assert notes.count("") == len(notes) - 2

    graph = fused(one(conv), torch.randn(1, 3, 8, 8))
    known = Schedules.load(targets.load(TARGET), None)
    steps = realize.realize(plan.plan(graph), known, "net")[0].steps
    binary = [s for s in steps if s.op == "bnn.conv2d"]
    assert sum("ternary" in " ".join(s.fused) for s in binary) == 2
    text = f"1 binary layers in {len(binary)} kernels, 1 of ternary weights"
    assert cli._layers(binary) == text
