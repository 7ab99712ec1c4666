"""Blocks around binary convolutions: shortcuts, gates, activations, padding, one dimension."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.author_style import where_sign
from tests.spellings.spelling import Body, PlainSign, SignConv, Spelling, stem


def conv(i: int = 8, o: int = 8, stride: int = 1, kernel: int = 3) -> SignConv:
    return SignConv(i, o, kernel, stride, kernel // 2, bias=False)


class CutShortcut(nn.Module):
    """Every second pixel, channels of zeros around (the shortcut "A")."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = stem(8), conv(8, 16, 2), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.conv(x))
        y += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0)
        return F.hardtanh(y)


class Maxout(nn.Module):
    """Two slopes by two relus."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.below = nn.Parameter(0.25 * torch.rand(channels))
        self.above = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        above, below = self.above.view(1, -1, 1, 1), self.below.view(1, -1, 1, 1)
        return above * F.relu(x) - below * F.relu(-x)


class Gated(nn.Module):
    """Squeeze and excite of a mix, then a product of two computed maps."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.stem, self.conv, self.act = stem(8), conv(), nn.PReLU(8)
        self.mix = nn.Parameter(torch.full((1, 8, 1, 1), 0.4))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), gate
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norms[0](self.conv(x))
        mixed = x * self.mix + y * (1 - self.mix)
        y = self.squeeze(mixed) * y
        y = y * self.act(x)
        return self.norms[1](y) + x


class HardSigmoid(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class Precision(nn.Module):
    """One bit everywhere, two where a gate opens; a weight's signs serve both."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.threshold = nn.Parameter(torch.zeros(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        bits, delta = PlainSign.apply(self.weight), 2.0 / 3.0
        two = torch.round((torch.clamp(x, -1.0, 1.0) + 1.0) / delta) * delta - 1.0
        one = F.conv2d(PlainSign.apply(x), bits, None, 1, 1) * 2.0 / 3.0
        mask = (torch.sigmoid(5.0 * (one - self.threshold)) > 0.5).float()
        return (1 - mask) * one + mask * F.conv2d(two, bits, None, 1, 1)


class PaddedBelow(nn.Conv2d):
    """Signs padded by -1; dilation as wide as the padding."""

    def __init__(self, dilation: int) -> None:
        super().__init__(8, 8, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        edges = (self.padding[0], self.padding[0], self.padding[1], self.padding[1])
        x = F.pad(PlainSign.apply(x), edges, mode="constant", value=-1)
        bits = self.weight.abs().mean((1, 2, 3), keepdim=True) * PlainSign.apply(self.weight)
        return F.conv2d(x, bits, None, 1, 0, self.dilation)


class Memory(nn.Module):
    """Keyword spotting in one dimension: a depthwise memory, pointwise layers, shortcuts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(10, 16, 3, padding=1)
        self.memory = nn.Parameter(torch.randn(16, 1, 5))
        self.wide, self.narrow = (
            nn.Parameter(torch.randn(32, 16, 1)),
            nn.Parameter(torch.randn(16, 32, 1)),
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(c) for c in (16, 32, 16))
        self.acts = nn.ModuleList(nn.PReLU() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = F.pad(x, [2, 2])
        y = F.conv1d(PlainSign.apply(y), PlainSign.apply(self.memory), None, groups=16)
        x = self.acts[0](self.norms[0](y)) + x
        y = F.conv1d(PlainSign.apply(x), PlainSign.apply(self.wide))
        y = self.acts[1](self.norms[1](y))
        y = F.conv1d(PlainSign.apply(y), PlainSign.apply(self.narrow))
        return self.acts[2](self.norms[2](y)) + x


class Bottle(nn.Module):
    """Signs pooled, shuffled, cut and joined on their way to the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = stem(8), nn.Parameter(torch.randn(8, 8, 3, 3)), None

    def forward(self, x: Tensor) -> Tensor:
        bits = F.max_pool2d(PlainSign.apply(self.stem(x)), 2)
        n, c, h, w = bits.shape
        bits = bits.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        left, right = bits.chunk(2, 1)
        bits = torch.cat([right, left], 1)
        return F.conv2d(bits, PlainSign.apply(self.conv), None, 1, 1)


class PooledSigns(nn.Module):
    """Batch norm, sign, max-pool, and nothing else in front of the convolution."""

    def __init__(self, sign: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = stem(8), conv(), nn.BatchNorm2d(8)
        self.sign, self.last = sign, nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        bits = F.max_pool2d(self.sign(self.norm(self.conv(self.stem(x)))), 2)
        return F.conv2d(bits, PlainSign.apply(self.last), None, 1, 1)


class Ceiled(nn.Module):
    """A shortcut pooled with ceil_mode, in front of a float 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = stem(8), conv(8, 16, 2), nn.BatchNorm2d(16)
        self.down = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.conv(x))
        y += self.down(x)
        return y


class TwoActivations(nn.Module):
    """Both halves of a widened map through the same weights' signs, their mean as the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = stem(16), conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        left, right = torch.chunk(x, 2, dim=1)
        return torch.cat([self.conv(left) + left, self.conv(right) + right], dim=1)


class Grown(nn.Module):
    """What two binary layers gave, joined one by one to an empty tensor; copied into zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layers = stem(8), nn.ModuleList([conv(), conv()])

    def forward(self, x: Tensor) -> Tensor:
        x, features = self.stem(x), torch.tensor([])
        for layer in self.layers:
            x = torch.zeros_like(x).copy_(layer(x) + x)
            features = torch.cat([features, x], dim=1)
        return features


class Contracted(nn.Module):
    """1x1 layers written as contractions, of pixels and of tokens, shortcuts between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = stem(8)
        self.weights = nn.ParameterList(torch.randn(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        first, second, third = (where_sign(w) for w in self.weights)
        x = x + torch.einsum("bchw,oc->bohw", where_sign(x), first)
        x = x + torch.einsum("co, bchw -> bohw", second, where_sign(x))
        tokens = x.flatten(2).transpose(1, 2)
        return tokens + torch.einsum("btd,od->bto", where_sign(tokens), third)


SPELLINGS = (
    Spelling("layers by einsum", Contracted, 3),
    Spelling("cut shortcut with padded channels", CutShortcut, 1),
    Spelling("two slopes by two relus", lambda: Body(nn.Sequential(conv(), Maxout(), conv())), 2),
    Spelling("gate by sigmoid", lambda: Gated(nn.Sigmoid()), 1, floats=3),
    Spelling("gate by relu6", lambda: Gated(HardSigmoid()), 1, floats=3),
    Spelling("one bit or two by a gate", lambda: Body(Precision()), 1, floats=2),
    Spelling("signs padded by -1", lambda: Body(PaddedBelow(1)), 1),
    Spelling("signs padded by -1, dilated", lambda: Body(PaddedBelow(3)), 1),
    Spelling("one dimension", Memory, 3, shape=(2, 10, 24)),
    Spelling("bits pooled, shuffled, cut and joined", Bottle, 1),
    Spelling("pooled signs", lambda: PooledSigns(PlainSign.apply), 2),
    Spelling("pooled signs, +1 at zero", lambda: PooledSigns(where_sign), 2),
    Spelling("pooled with ceil_mode", Ceiled, 1, floats=2, shape=(2, 3, 13, 13)),
    Spelling("halves by the same weights", TwoActivations, 2),
    Spelling("joined from an empty tensor on", Grown, 2),
)
