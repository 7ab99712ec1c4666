"""Two-level weights and activations: scales, centres, and what is computed to find the weights."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spellings.spelling import Body, PlainSign, Spelling


class TwoLevels(nn.Conv2d):
    """Weights at a centre plus or minus a distance, per filter; so activations, per tensor."""

    def __init__(self, activations: bool, padding: int = 1) -> None:
        super().__init__(8, 8, 3, padding=padding, bias=False)
        self.activations = activations
        self.distance, self.centre = (
            nn.Parameter(torch.tensor(0.8)),
            nn.Parameter(torch.tensor(0.1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        centre = w.mean((1, 2, 3)).view(-1, 1, 1, 1)
        distance = torch.sqrt(((w - centre) ** 2).sum((1, 2, 3)) / w[0].numel()).view(-1, 1, 1, 1)
        bits = PlainSign.apply((w - centre) / distance)
        if self.activations:
            x = self.distance * (PlainSign.apply((x - self.centre) / self.distance) + self.centre)
        else:
            x = PlainSign.apply(x)
        return self._conv_forward(x, bits * distance + centre, None)


class PowerOfTwo(nn.Conv2d):
    """Standardised weights, their signs times a power of two that is found on the way."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = w - w.view(w.size(0), -1).mean(-1).view(w.size(0), 1, 1, 1)
        w = w / w.view(w.size(0), -1).std(-1).view(w.size(0), 1, 1, 1)
        level = w.abs().view(w.size(0), -1).mean(-1)
        twos = torch.tensor([2] * w.size(0)).float()
        power = torch.pow(twos, (torch.log(level) / math.log(2)).round().float())
        bits = PlainSign.apply(w) * power.view(w.size(0), 1, 1, 1).detach()
        return self._conv_forward(PlainSign.apply(x), bits, None)


class ClampedByNumber(nn.Conv2d):
    """Weights clamped at a quantile that leaves the graph as a Python number."""

    def __init__(self) -> None:
        super().__init__(8, 8, 3, padding=1, bias=False)
        self.alpha = nn.Parameter(torch.rand(8, 1, 1) + 0.1)
        self.register_buffer("tau", torch.tensor(0.9))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean([1, 2, 3], keepdim=True)
        w = w / (torch.sqrt(w.var([1, 2, 3], keepdim=True) + 1e-5) / 2 / np.sqrt(2))
        bound = (-w.abs().mean() * torch.log(2 - 2 * self.tau)).detach().cpu().item()
        bits = PlainSign.apply(torch.clamp(w, -bound, bound))
        return self._conv_forward(PlainSign.apply(x), bits, None) * self.alpha


class HalfOfEach(nn.Conv2d):
    """As many weights +1 as -1 in every filter, by sorting."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.view(self.weight.size(0), -1)
        _, order = flat.sort()
        half = flat.shape[1] // 2
        ranks = torch.cat([-torch.ones(flat.shape[0], half), torch.ones_like(flat[:, half:])], 1)
        bits = torch.zeros(flat.shape).scatter_(1, order, ranks).view_as(self.weight)
        return self._conv_forward(PlainSign.apply(x), bits * 0.05, None)


class StoredZeroOne(nn.Conv2d):
    """A parameter of zeros and ones, doubled and lowered to signs in the forward."""

    def __init__(self) -> None:
        super().__init__(8, 8, 3, padding=1, bias=False)
        bits = (self.weight > 0).float().view(8, 1, -1)
        self.bits = nn.Parameter(bits, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        size = self.weight.abs()
        bits = size - size.detach() + self.bits.mul(2).sub(1).view_as(self.weight)
        return self._conv_forward(PlainSign.apply(x), bits, None)


class Bases(nn.Conv2d):
    """A sum of two binary bases of the weights, each with its scale."""

    def forward(self, x: Tensor) -> Tensor:
        first = PlainSign.apply(self.weight)
        scale = self.weight.abs().mean()
        second = PlainSign.apply(self.weight - scale * first)
        x = PlainSign.apply(x)
        a = F.conv2d(x, first, None, 1, 1) * scale
        return a + F.conv2d(x, second, None, 1, 1) * 0.4


class WeightOfBases(nn.Conv2d):
    """Two binary bases added up before they are used."""

    def forward(self, x: Tensor) -> Tensor:
        first = PlainSign.apply(self.weight)
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        weight = scale * first + 0.2 * PlainSign.apply(self.weight - scale * first)
        return self._conv_forward(PlainSign.apply(x), weight, None)


class InputScale(nn.Conv2d):
    """XNOR-Net's map of the input's mean magnitude times the product of signs."""

    def forward(self, x: Tensor) -> Tensor:
        level = F.avg_pool2d(x.abs().mean(1, keepdim=True), 3, 1, 1)
        return self._conv_forward(PlainSign.apply(x), PlainSign.apply(self.weight), None) * level


def _body(layer: type[nn.Conv2d]) -> nn.Module:
    return Body(layer(8, 8, 3, padding=1, bias=False))


SPELLINGS = (
    Spelling("two-level weights", lambda: Body(TwoLevels(False)), 1, floats=2),
    Spelling("two-level weights and activations", lambda: Body(TwoLevels(True)), 1, floats=2),
    Spelling("two-level, no padding", lambda: Body(TwoLevels(True, 0)), 1, floats=2),
    Spelling("power of two per filter", lambda: _body(PowerOfTwo), 1),
    Spelling("clamped by a Python number", lambda: Body(ClampedByNumber()), 1),
    Spelling("half of each sign", lambda: _body(HalfOfEach), 1),
    Spelling("stored zeros and ones", lambda: Body(StoredZeroOne()), 1),
    Spelling("two bases", lambda: _body(Bases), 2),
    Spelling("two bases in one weight", lambda: _body(WeightOfBases), 2),
    Spelling("scale of the input", lambda: _body(InputScale), 1),
)
