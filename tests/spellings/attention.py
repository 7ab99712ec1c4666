"""Binary transformers: linear layers of tokens, products of computed signs, norms between."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spellings.spelling import PlainSign, Spelling


class TokenLinear(nn.Linear):
    """Signs of centred weights times their mean magnitude, per output; bias in place."""

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.mean(abs(self.weight), dim=1, keepdim=True).detach()
        real = self.weight - torch.mean(self.weight, dim=-1, keepdim=True)
        hard, soft = scale * torch.sign(real), torch.clamp(real, -1.0, 1.0)
        w = hard.detach() - soft.detach() + soft
        y = F.linear(PlainSign.apply(x), w)
        y += self.bias.view(1, -1).expand_as(y)
        return y


class Attention(nn.Module):
    """Two heads; ``bits`` makes the products of queries, keys and values binary ones too.

    If it is "elastic", attention is 0 or a learnt distance, else 0 or 1.
    """

    def __init__(self, bits: str, size: int = 16) -> None:
        super().__init__()
        self.bits, self.size = bits, size
        self.distance = nn.Parameter(torch.tensor(0.15))
        self.query, self.key, self.value = (TokenLinear(size, size) for _ in range(3))
        self.out = TokenLinear(size, size)

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], 2, self.size // 2).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        if self.bits:
            q, k, v = PlainSign.apply(q), PlainSign.apply(k), PlainSign.apply(v)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size // 2)
        if self.bits == "sigmoid":
            weights = torch.round(torch.clamp(torch.sigmoid(scores), 0.0, 1.0))
        else:
            weights = F.softmax(scores, dim=-1)
        if self.bits == "elastic":
            weights = torch.round(weights / self.distance).clamp(0.0, 1.0) * self.distance
        y = torch.matmul(weights, v).permute(0, 2, 1, 3).contiguous()
        return self.out(y.view(*y.shape[:-2], self.size))


class Patches(nn.Module):
    """Patches, a learnt place for each, a block of attention and two layers, the tokens' mean."""

    def __init__(self, bits: str, size: int = 16) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, size, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 9, size) * 0.1)
        self.attention = Attention(bits)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(3))
        self.up, self.down = TokenLinear(size, 32), TokenLinear(32, size)
        self.head = nn.Linear(size, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2) + self.place
        x = self.attention(self.norms[0](x)) + x
        x = self.down(F.gelu(self.up(self.norms[1](x)))) + x
        return self.head(self.norms[2](x).mean(1))


class Tokens(nn.Module):
    """One binary layer of tokens, nothing else of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.layer = nn.Conv2d(3, 16, 4, 4), TokenLinear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.cut(x).flatten(2).transpose(1, 2))


SPELLINGS = (
    Spelling("binary layer of tokens", Tokens, 1),
    Spelling("attention between binary layers", lambda: Patches(""), 6, floats=4),
    Spelling("attention of computed signs", lambda: Patches("sigmoid"), 7, floats=3),
    Spelling("attention of computed signs, elastic", lambda: Patches("elastic"), 7, floats=3),
)
