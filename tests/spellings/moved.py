"""Signs on their way to a layer: shuffled, joined, enlarged, unfolded, cut into heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.author_style import where_sign
from tests.spellings.layers import conv
from tests.spellings.spelling import PlainSign, SignConv, Spelling, stem

sign = PlainSign.apply


class BitConv(nn.Conv2d):
    """Its weights' signs; what it reads are signs already."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, sign(self.weight), self.bias)


def bit_conv(i: int, o: int = 8, kernel: int = 3, groups: int = 1) -> BitConv:
    return BitConv(i, o, kernel, 1, kernel // 2, groups=groups, bias=False)


class Shuffled(nn.Module):
    """A ShuffleNet unit: one half through binary layers, joined, shuffled; grouped layers then."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norms = stem(16), nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.layers = nn.ModuleList([conv(8, 8, kernel=1), conv()])
        self.last = bit_conv(16, 16, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            right = norm(layer(right)) + right
        x = F.channel_shuffle(torch.cat([left, right], 1), 2)
        return self.last(F.channel_shuffle(where_sign(x), 4))


class Dense(nn.Module):
    """Signs of every map so far, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norms = stem(8), nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.layers = nn.ModuleList([bit_conv(8), bit_conv(16)])

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            maps.append(norm(layer(torch.cat([sign(m) for m in maps], 1))))
        return torch.cat(maps, 1)


class Hourglass(nn.Module):
    """Signs pooled on the way down, enlarged on the way up and joined to those beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norms = stem(8), nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.down, self.up = bit_conv(8), bit_conv(16)

    def forward(self, x: Tensor) -> Tensor:
        bits = sign(self.stem(x))
        below = sign(self.norms[0](self.down(F.max_pool2d(bits, 2))))
        joined = torch.cat([bits, F.interpolate(below, scale_factor=2, mode="nearest")], 1)
        return self.norms[1](self.up(joined))


class Inception(nn.Module):
    """One sign, read by three branches; the signs of what they gave are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = stem(8), nn.BatchNorm2d(8)
        self.layers = nn.ModuleList([bit_conv(8, kernel=1), bit_conv(8), bit_conv(8, kernel=1)])
        self.last = bit_conv(24)

    def forward(self, x: Tensor) -> Tensor:
        bits = sign(self.stem(x))
        read = [bits, bits, F.max_pool2d(bits, 3, 1, 1)]
        found = [self.norm(y(b)) for y, b in zip(self.layers, read, strict=True)]
        return self.last(torch.cat([where_sign(y) for y in found], 1))


class Unfolded(nn.Module):
    """A convolution as a product of its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.weight = stem(8), nn.Parameter(torch.randn(8, 72))

    def forward(self, x: Tensor) -> Tensor:
        columns = F.unfold(F.pad(sign(self.stem(x)), (1, 1, 1, 1), value=-1.0), 3)
        return (sign(self.weight) @ columns).view(x.shape[0], 8, *x.shape[2:])


class Focus(nn.Module):
    """Every second pixel four times, joined; then columns rolled one way, rows the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.last = stem(8), bit_conv(32), bit_conv(8)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        bits = sign(self.stem(x))
        cut = [bits[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        left, right = sign(self.norm(self.first(torch.cat(cut, 1)))).chunk(2, 1)
        return self.last(torch.cat([left.roll(1, 3), right.roll(-1, 2)], 1))


class Split(nn.Module):
    """Signs of five dimensions, of halves with thresholds of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = stem(8), SignConv(8, 8, 3, padding=1, bias=False)
        self.at = nn.Parameter(torch.randn(2, 1, 1, 1) * 0.3)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = (x := self.stem(x)).shape
        halves = sign(x.view(n, 2, c // 2, h, w) - self.at)
        y = F.conv2d(halves.transpose(1, 2).reshape(n, c, h, w), sign(self.weight), None, 1, 1)
        return self.last(y) + x


class Heads(nn.Module):
    """Signs of queries, keys and values, then cut; a row looks at what is above its mean."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.cut, self.all = nn.Conv2d(3, size, 4, 4), nn.Linear(size, 3 * size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2)
        n, t, c = x.shape
        signs = where_sign(self.all(x)).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        queries, keys, values = signs.unbind(0)
        scores = queries @ keys.transpose(-2, -1)
        seen = (scores > scores.mean(-1, keepdim=True)).float()
        return (seen @ values).transpose(1, 2).reshape(n, t, c)


SPELLINGS = (
    Spelling("shuffled units", Shuffled, 3),
    Spelling("signs of all maps joined", Dense, 2),
    Spelling("signs pooled, enlarged, joined", Hourglass, 2),
    Spelling("one sign in three branches", Inception, 4),
    Spelling("unfolded signs", Unfolded, 1),
    Spelling("every second pixel, joined; rolled", Focus, 2),
    Spelling("signs of five dimensions", Split, 2),
    Spelling("signs cut into queries, keys and values", Heads, 2, floats=2),
)
