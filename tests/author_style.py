"""Small networks spelled the way the papers' public code spells them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedApproxSign(nn.Module):
    """sign with the gradient of a piecewise quadratic, by detach arithmetic over float masks."""

    def forward(self, x: Tensor) -> Tensor:
        hard = torch.sign(x)
        below, negative, under = x < -1, x < 0, x < 1
        a = (-1) * below.type(torch.float32) + (x * x + 2 * x) * (1 - below.type(torch.float32))
        b = a * negative.type(torch.float32) + (-x * x + 2 * x) * (1 - negative.type(torch.float32))
        c = b * under.type(torch.float32) + 1 * (1 - under.type(torch.float32))
        return hard.detach() - c.detach() + c


class HardConv(nn.Module):
    """Nested means for the scale, clamp as the straight-through function; flat or 4-D weights."""

    def __init__(self, i: int, o: int, stride: int = 1, flat: bool = True) -> None:
        super().__init__()
        self.stride, self.shape, self.flat = stride, (o, i, 3, 3), flat
        draw = torch.rand((o * i * 9, 1)) - 0.5 + 1e-7
        if flat:
            self.weights = nn.Parameter(draw)
        else:
            self.weight = nn.Parameter(draw.view(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        real = self.weights.view(self.shape) if self.flat else self.weight
        scale = torch.mean(
            torch.mean(torch.mean(abs(real), dim=3, keepdim=True), dim=2, keepdim=True),
            dim=1,
            keepdim=True,
        ).detach()
        hard = scale * torch.sign(real)
        soft = torch.clamp(real, -1.0, 1.0)
        return F.conv2d(x, hard.detach() - soft.detach() + soft, stride=self.stride, padding=1)


class FunctionSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Shifted(nn.Module):
    """A learned shift, expanded to the input's shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.expand_as(x)


def where_sign(x: Tensor) -> Tensor:
    return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))


def mask_sign(x: Tensor) -> Tensor:
    return 2 * (x >= 0).float() - 1


def larq_sign(x: Tensor) -> Tensor:
    return torch.sign(torch.sign(x) + 0.1)


def clipped_sign(x: Tensor) -> Tensor:
    return F.hardtanh(x).sign()


class Residual(nn.Module):
    """Stem, two binary blocks with in-place shortcut adds, classifier."""

    def __init__(
        self, sign: Callable[[Tensor], Tensor], conv: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        self.sign = sign
        self.stem, self.bn = nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24)
        self.move, self.convs = Shifted(24), nn.ModuleList(conv(24, 24) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(24) for _ in range(2))
        self.act, self.fc = nn.PReLU(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            residual = x
            out = norm(conv(self.sign(self.move(x))))
            out += residual
            x = self.act(out)
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))


class PaddedConv(nn.Module):
    """Asymmetric explicit padding of signs, stored -1/+1 weights, scale on the output."""

    def __init__(self, i: int, o: int, value: float) -> None:
        super().__init__()
        self.value = value
        self.register_buffer("w", torch.where(torch.randn(o, i, 3, 3) >= 0, 1.0, -1.0))
        self.alpha = nn.Parameter(torch.rand(1, o, 1, 1) + 0.1)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 2, 2, 0), value=self.value)
        return F.conv2d(padded, self.w) * self.alpha


class FunctionConv(nn.Module):
    """Weights through an autograd function, scale |W| on the output."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.weight.abs().mean(dim=[1, 2, 3]).view(1, -1, 1, 1)
        return F.conv2d(x, FunctionSign.apply(self.weight), padding=1) * alpha


class StoredConv(nn.Module):
    """A parameter that holds -1/+1 itself; no sign, no scale."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.where(torch.randn(o, i, 3, 3) >= 0, 1.0, -1.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, 1, 1)


class StandardizedConv(nn.Module):
    """Weights standardised per filter, then sign times a power of two (as IR-Net)."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        flat = w - w.view(w.size(0), -1).mean(-1).view(w.size(0), 1, 1, 1)
        flat = flat / flat.view(w.size(0), -1).std(-1).view(w.size(0), 1, 1, 1)
        level = flat.abs().view(w.size(0), -1).mean(-1)
        power = torch.pow(torch.tensor([2.0] * w.size(0)), torch.log2(level).round())
        return F.conv2d(x, torch.sign(flat) * power.view(-1, 1, 1, 1).detach(), padding=1)


class GroupedConv(nn.Module):
    """Groups and dilation around the detach arithmetic."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i // 6, 3, 3) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        hard, soft = torch.sign(self.weight), self.weight.clamp(-1, 1)
        w = (hard - soft).detach() + soft
        return F.conv2d(x, w, padding=2, dilation=2, groups=6)


class MaskedLeakyClip(nn.Module):
    """Slope 0.1 outside [-1, 1], by two float masks."""

    def forward(self, x: Tensor) -> Tensor:
        low, high = (x < -1).type(torch.float32), (x > 1).type(torch.float32)
        y = (0.1 * x - 0.9) * low + x * (1 - low)
        return (0.1 * y + 0.9) * high + y * (1 - high)


class TwoStreams(nn.Module):
    """A bottleneck of two float streams; the pool is evaluated twice, the first conv is float."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.pool, self.clip, self.sign = (
            nn.MaxPool2d(3, 2, 1),
            MaskedLeakyClip(),
            MaskedApproxSign(),
        )
        self.first, self.bn1 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.middle, self.bn2 = HardConv(8, 8), nn.BatchNorm2d(8)
        self.last, self.bn3 = HardConv(8, 32, flat=False), nn.BatchNorm2d(32)
        self.down = nn.Sequential(
            nn.AvgPool2d(1, 1), nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32)
        )
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x))
        narrow, wide = self.pool(x), self.pool(x)
        a = self.bn1(self.first(self.clip(wide)))
        a += narrow
        b = self.bn2(self.middle(self.sign(a)))
        b += a
        c = self.bn3(self.last(self.sign(b)))
        c += self.down(wide)
        return self.fc(F.adaptive_avg_pool2d(c, (1, 1)).view(x.size(0), -1))


class Duplicated(nn.Module):
    """A widening block: one sign, two binary convolutions, both plus the shortcut, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.move, self.sign = Shifted(16), MaskedApproxSign()
        self.one, self.two = HardConv(16, 16), HardConv(16, 16)
        self.bn1, self.bn2 = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
        self.before, self.act, self.after = Shifted(32), nn.PReLU(32), Shifted(32)
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x))
        bits = self.sign(self.move(x))
        a, b = self.bn1(self.one(bits)), self.bn2(self.two(bits))
        a += x
        b += x
        y = self.after(self.act(self.before(torch.cat([a, b], dim=1))))
        return self.fc(F.adaptive_avg_pool2d(y, 1).view(y.size(0), -1))


class Chain(nn.Module):
    """BN, sign, convolution, max-pool without shortcuts; a binary dense head with BN behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(3))
        self.convs = nn.ModuleList(FunctionConv(16, 16) for _ in range(2))
        self.dense = nn.Parameter(torch.randn(7, 16 * 25))
        self.last = nn.BatchNorm1d(7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=True)
        x = self.convs[0](self.norms[0](x).sign())
        x = self.norms[1](F.max_pool2d(x, 2))
        x = self.norms[2](self.convs[1](clipped_sign(x)))
        x = where_sign(x).view(x.size(0), -1)
        return self.last(F.linear(x, FunctionSign.apply(self.dense)))


AUTHOR_STYLE: dict[str, Callable[[], nn.Module]] = {
    "masked sign, flat weights": lambda: Residual(MaskedApproxSign(), HardConv),
    "masked sign, 4-D weights": lambda: Residual(
        MaskedApproxSign(), lambda i, o: HardConv(i, o, flat=False)
    ),
    "autograd function": lambda: Residual(FunctionSign.apply, HardConv),
    "where": lambda: Residual(where_sign, HardConv),
    "mask": lambda: Residual(mask_sign, HardConv),
    "larq": lambda: Residual(larq_sign, HardConv),
    "hardtanh": lambda: Residual(clipped_sign, HardConv),
    "pad 0": lambda: Residual(where_sign, lambda i, o: PaddedConv(i, o, 0.0)),
    "pad +1": lambda: Residual(where_sign, lambda i, o: PaddedConv(i, o, 1.0)),
    "pad -1": lambda: Residual(where_sign, lambda i, o: PaddedConv(i, o, -1.0)),
    "function weights, scale on the output": lambda: Residual(FunctionSign.apply, FunctionConv),
    "stored weights": lambda: Residual(where_sign, StoredConv),
    "standardised weights": lambda: Residual(clipped_sign, StandardizedConv),
    "groups and dilation": lambda: Residual(where_sign, GroupedConv),
}

#: Whole structures: factory, example input shape, binary kernels after compilation.
AUTHOR_NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "two streams": (TwoStreams, (2, 3, 20, 20), 2),
    "duplicated block": (Duplicated, (2, 3, 20, 20), 1),
    "chain with a binary head": (Chain, (2, 3, 20, 20), 3),
}
