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
}
