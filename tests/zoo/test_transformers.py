"""A binary transformer of tokens: every binary layer and product is one of bits, exact."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnn_compiler


class Step(torch.autograd.Function):
    """1 above 0, else 0."""

    @staticmethod
    def forward(ctx, x):
        return (x > 0).to(x.dtype)


class Attention(nn.Module):
    """Heads of signs; weights of {0, 1} by a learnt threshold, or a softmax of float scores."""

    def __init__(self, width: int, heads: int, hard: bool) -> None:
        super().__init__()
        self.heads, self.hard = heads, hard
        self.query, self.key, self.value, self.out = (BinaryLayer(width, width) for _ in range(4))
        self.threshold = nn.Parameter(torch.tensor(0.05))

    def split(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return torch.where(x >= 0, 1.0, -1.0) if self.hard else x

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(f(x)) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        weights = Step.apply(scores - self.threshold) if self.hard else scores.softmax(-1)
        y = (weights @ v).transpose(1, 2).flatten(2)
        return self.out(y / x.shape[1] if self.hard else y)


class RPReLUOfTokens(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = (nn.Parameter(torch.randn(width) * 0.1) for _ in range(2))
        self.slope = nn.Parameter(torch.tensor([0.25]))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x - self.before, self.slope) + self.after


class BinaryLayer(nn.Module):
    """Sign of a shifted input, binary weights with a scale for each output, a bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs) * 0.1)
        self.shift = nn.Parameter(torch.randn(inputs) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().mean(1, keepdim=True)
        return F.linear(torch.sign(x + self.shift), scale * torch.sign(self.weight), self.bias)


class Block(nn.Module):
    """Attention and two layers, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, hard: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = Attention(width, heads, hard)
        self.up, self.down = BinaryLayer(width, 2 * width + 3), BinaryLayer(2 * width + 3, width)
        self.activation = RPReLUOfTokens(2 * width + 3) if hard else nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.down(self.activation(self.up(self.norms[1](x))))


class Transformer(nn.Module):
    """Patches, a token of the class or the mean of all, learnt places, two blocks, a head."""

    def __init__(self, width: int, heads: int, *, hard: bool, token: bool) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width)) if token else None
        self.places = nn.Parameter(torch.randn(1, 6 + token, width) * 0.1)
        self.blocks = nn.Sequential(*(Block(width, heads, hard) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.blocks(x + self.places))
        return self.head(x.mean(1) if self.token is None else x[:, 0])


@pytest.mark.parametrize(
    ("width", "heads", "batch", "form"),
    [(33, 3, 3, {"hard": True, "token": True}), (32, 2, 1, {"hard": False, "token": False})],
)
def test_all_binary_layers_are_binary_and_exact(width, heads, batch, form, tmp_path):
    torch.manual_seed(0)
    model, x = Transformer(width, heads, **form).eval(), torch.randn(batch, 3, 8, 12)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x, torch.randn_like(x)])
    assert report.ok, report.text()
    ops = [s["op"] for s in artifact.manifest["steps"] if s["binary"]]
    layers = {s["name"] for s in artifact.manifest["steps"] if s["op"] == "bnn.conv2d"}
    assert len(layers) == 2 * 6
    assert ops.count("bnn.matmul") == (2 * 2 if form["hard"] else 0)
    # The cut into patches and the head are float; nothing binary is.
    assert sum(s["op"] == "bnn.float_conv2d" for s in artifact.manifest["steps"]) == 2
    assert report.export_difference == 0
