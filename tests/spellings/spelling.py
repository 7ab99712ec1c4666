"""One network, what it takes and what must become of it; the parts that many of them share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Spelling:
    """``binary`` is the number of binary convolutions, matrix products included, that there must be
    at least; ``floats`` the number of float ones that may be left."""

    name: str
    make: Callable[[], nn.Module]
    binary: int
    floats: int = 1
    shape: tuple[int, ...] = (2, 3, 12, 12)


class PlainSign(torch.autograd.Function):
    """torch.sign with a clipped gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class SignConv(nn.Conv2d):
    """sign(x) * sign(w), neither of them scaled."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(PlainSign.apply(x), PlainSign.apply(self.weight), self.bias)


class SignLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(PlainSign.apply(x), PlainSign.apply(self.weight), self.bias)


def stem(channels: int = 8, image: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(image, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))


class Body(nn.Module):
    """A float stem, the given layer, batch norm."""

    def __init__(self, layer: nn.Module, channels: int = 8, out: int | None = None) -> None:
        super().__init__()
        self.stem, self.layer = stem(channels), layer
        self.norm = nn.BatchNorm2d(channels if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(self.stem(x)))


def settle(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Batch norms get gains, shifts and the statistics of random images; in eval mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
    with torch.no_grad():
        for _ in range(10):
            model.train()(torch.randn(8, *shape[1:]))
    return model.eval()
