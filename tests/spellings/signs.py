"""What becomes +1 or -1 (or 0 or 1) in a forward, for activations and for weights."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spellings.spelling import Body, PlainSign, Spelling


class RepairedSign(torch.autograd.Function):
    """sign, then its zeros made +1 by a tensor that is created on the way."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        signs = torch.sign(x)
        return torch.where(signs == 0, torch.tensor(1.0, device=x.device), signs)

    @staticmethod
    def backward(ctx, grad):
        return grad


class AssignedSign(torch.autograd.Function):
    """A copy, filled by masks."""

    @staticmethod
    def forward(ctx, x):
        y = torch.zeros_like(x)
        y[x >= 0] = 1
        y[x < 0] = -1
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad


class ScaledSign(torch.autograd.Function):
    """Divided by a scale of 1, sign, times the scale; a copy if it is not to be done in place."""

    @staticmethod
    def forward(ctx, x, mode="det", scaled=False):
        y = x.clone()
        scale = y.abs().max() if scaled else 1
        if mode == "det":
            return y.div(scale).sign().mul(scale)
        return y.div(scale).add_(1).div_(2).clamp_(0, 1).round().mul_(2).add_(-1).mul(scale)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None


def subtracted_masks(x: Tensor) -> Tensor:
    return (x >= 0).float() - (x < 0).float()


def one_minus_mask(x: Tensor) -> Tensor:
    return 1 - 2 * (x < 0).float()


def where_tensors(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.tensor(1.0), torch.tensor(-1.0))


def filled(x: Tensor) -> Tensor:
    return torch.ones_like(x).masked_fill(x < 0, -1.0)


def heaviside(x: Tensor) -> Tensor:
    return 2 * torch.heaviside(x, torch.ones(1)) - 1


def integer_mask(x: Tensor) -> Tensor:
    return ((x >= 0).to(torch.int32) * 2 - 1).to(x.dtype)


def rounded(x: Tensor) -> Tensor:
    """One bit of a uniform quantiser of [-1, 1]."""
    delta = 2.0 / (2.0**1 - 1.0)
    return torch.round((torch.clamp(x, -1.0, 1.0) + 1.0) / delta) * delta - 1.0


def detached(x: Tensor) -> Tensor:
    bounded = torch.clamp(x, -1.3, 1.3)
    return torch.sign(x).detach() - bounded.detach() + bounded


class TensorClamp(nn.Module):
    """Divided by a temperature, clamped, sign; the straight-through value beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.full((1,), 1e-8))

    def forward(self, x: Tensor) -> Tensor:
        soft = x.clamp(-1.5, 1.5)
        hard = x.div(self.temperature.clamp(min=1e-8)).clamp(-1, 1).sign()
        return (hard - soft).detach() + soft


class Threshold(nn.Module):
    """A learnt threshold per channel."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.at).float() * 2 - 1


def zero_one(x: Tensor) -> Tensor:
    """sign of what is clamped to [0, 1]: 0 or 1."""
    return torch.sign(torch.clamp(x, 0, 1))


def rounded_zero_one(x: Tensor) -> Tensor:
    return torch.round(torch.clamp(x, 0, 1))


class ElasticBit(nn.Module):
    """0 or a learnt distance, around a learnt offset."""

    def __init__(self) -> None:
        super().__init__()
        self.distance, self.offset = nn.Parameter(torch.tensor(0.8)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.round((x - self.offset) / self.distance).clamp(0.0, 1.0) * self.distance


class Convolved(nn.Module):
    """``sign`` of the input, and of the weights too if ``both``."""

    def __init__(self, sign: Callable[[Tensor], Tensor], both: bool = False) -> None:
        super().__init__()
        self.sign, self.both = sign, both
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        w = self.sign(self.weight) if self.both else PlainSign.apply(self.weight)
        return F.conv2d(self.sign(x), w, None, 1, 1)


def _spelling(
    name: str, sign: Callable[[], Callable[[Tensor], Tensor]], both: bool = False
) -> Spelling:
    return Spelling(name, lambda: Body(Convolved(sign(), both)), 1)


SPELLINGS = (
    _spelling("zeros of sign repaired", lambda: RepairedSign.apply),
    _spelling("zeros of sign repaired, of weights too", lambda: RepairedSign.apply, both=True),
    _spelling("assigned by masks", lambda: AssignedSign.apply),
    _spelling("divided by one, sign", lambda: ScaledSign.apply, both=True),
    _spelling("subtracted masks", lambda: subtracted_masks),
    _spelling("one minus twice a mask", lambda: one_minus_mask),
    _spelling("where of two tensors", lambda: where_tensors),
    _spelling("masked fill", lambda: filled),
    _spelling("heaviside", lambda: heaviside),
    _spelling("integer mask", lambda: integer_mask),
    _spelling("one bit of a uniform quantiser", lambda: rounded),
    _spelling("detached sign, wider clamp", lambda: detached, both=True),
    _spelling("clamp of a tempered value", TensorClamp),
    _spelling("learnt threshold", Threshold),
    _spelling("zero or one by sign of a clamp", lambda: zero_one),
    _spelling("zero or one by rounding", lambda: rounded_zero_one),
    _spelling("zero or a learnt distance", ElasticBit),
)
