"""Forwards that write: attributes, parameters' data, counters; and branch on buffers and values."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spellings.spelling import Body, PlainSign, Spelling


class _Conv(nn.Conv2d):
    def __init__(self, bias: bool = False) -> None:
        super().__init__(8, 8, 3, padding=1, bias=bias)


class Original(_Conv):
    """The bias' data kept in an attribute of it, the bias added in place."""

    def __init__(self) -> None:
        super().__init__(bias=True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(PlainSign.apply(x), PlainSign.apply(self.weight), None, 1, 1)
        self.bias.org = self.bias.data.clone()
        y += self.bias.view(1, -1, 1, 1).expand_as(y)
        return y


class Kept(_Conv):
    """The binary weights kept as an attribute of the module."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        self.bits = scale.mean(dim=3, keepdim=True) * PlainSign.apply(self.weight)
        self.bits.requires_grad_()
        return F.conv2d(PlainSign.apply(x), self.bits, None, 1, 1)


class ClampedData(_Conv):
    """The weights' data clamped in place in every forward."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.clamp_(-0.2, 0.2)
        return F.conv2d(PlainSign.apply(x), PlainSign.apply(self.weight), None, 1, 1)


class ReplacedData(_Conv):
    """The weights replaced in the forward, by what numpy says of them."""

    def forward(self, x: Tensor) -> Tensor:
        w = (self.weight - self.weight.mean([1, 2, 3], keepdim=True)).detach()
        low = np.percentile(w.abs().flatten().cpu(), 1.0)
        high = np.percentile(w.abs().flatten().cpu(), 99.0)
        self.weight.data = w.abs().clamp(min=low, max=high).mul(torch.sign(w))
        return F.conv2d(PlainSign.apply(x), PlainSign.apply(self.weight), None, 1, 1)


class Branched(_Conv):
    """Which weights are used depends on a buffer."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.full((1,), temperature))

    def forward(self, x: Tensor) -> Tensor:
        if self.temperature < 1e-7:
            w = self.weight.sign()
        else:
            w = (self.weight / self.temperature.clamp(min=1e-8)).clamp(-1, 1)
        return F.conv2d(PlainSign.apply(x), w, None, 1, 1)


class Guarded(_Conv):
    """A debugger's guard on the largest activation."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x.clone()
        if kept.data.max() > 1e6:
            raise RuntimeError("an activation is too large")
        return F.conv2d(PlainSign.apply(x), PlainSign.apply(self.weight), None, 1, 1) + kept


class Joined(_Conv):
    """Half of the weights +1, half -1, by numpy's joining of what torch made."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.view(8, -1)
        half = flat.shape[1] // 2
        ranks = np.concatenate((-torch.ones(8, half), torch.ones(8, half)), 1)
        order = flat.sort()[1]
        bits = torch.zeros(flat.shape).scatter_(1, order, torch.FloatTensor(ranks))
        return F.conv2d(PlainSign.apply(x), bits.view_as(self.weight), None, 1, 1)


class Counted(_Conv):
    """How many outputs are positive, counted in a tensor beside the module's."""

    def __init__(self) -> None:
        super().__init__()
        self.positive = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(PlainSign.apply(x), PlainSign.apply(self.weight), None, 1, 1)
        self.positive.fill_((y > 0).sum().item())
        return y


class Rotated(_Conv):
    """Weights rotated by stored matrices; what comes of it is kept in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        for name, size in (("left", 8), ("right", 9)):
            self.register_buffer(name, torch.linalg.qr(torch.randn(size, size))[0])
        self.angle = nn.Parameter(torch.ones(8, 1, 1, 1) * np.pi / 2)
        self.rotated = torch.ones_like(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.view(8, 8, 9)
        self.rotated = ((self.left.t()) @ w @ self.right).view_as(self.weight)
        w = self.weight + torch.abs(torch.sin(self.angle)) * (self.rotated.detach() - self.weight)
        return F.conv2d(PlainSign.apply(x), PlainSign.apply(w), None, 1, 1)


SPELLINGS = (
    Spelling("bias kept in an attribute", lambda: Body(Original()), 1),
    Spelling("bits kept in an attribute", lambda: Body(Kept()), 1),
    Spelling("data clamped in place", lambda: Body(ClampedData()), 1),
    Spelling("data replaced by numpy", lambda: Body(ReplacedData()), 1),
    Spelling("branch on a buffer, cold", lambda: Body(Branched(1e-8)), 1),
    Spelling("branch on a buffer, warm", lambda: Body(Branched(1e-6)), 1),
    Spelling("branch on an activation", lambda: Body(Guarded()), 1),
    Spelling("joined by numpy", lambda: Body(Joined()), 1),
    Spelling("counted on the way", lambda: Body(Counted()), 1),
    Spelling("rotated weights", lambda: Body(Rotated()), 1),
)
