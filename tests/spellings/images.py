"""Signs of what is normalised per image; restoration and detection around binary convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spellings.spelling import Body, PlainSign, SignConv, Spelling


class Centred(nn.Conv2d):
    """The image's own mean taken off, divided by its own deviation, then sign."""

    def __init__(self, deviation: str) -> None:
        super().__init__(8, 8, 3, padding=1, bias=False)
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean([1, 2, 3], keepdim=True)
        if self.deviation == "std":
            x = x / x.std([1, 2, 3], keepdim=True)
        elif self.deviation == "var":
            x = x / torch.sqrt(x.var([1, 2, 3], keepdim=True) + 1e-5)
        return self._conv_forward(PlainSign.apply(x), PlainSign.apply(self.weight), None)


class Standardised(nn.Module):
    """sign(x - beta) with beta computed per channel of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = SignConv(8, 8, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - x.mean((2, 3), keepdim=True)) * 3.0)


class Enlarged(nn.Module):
    """Super-resolution: binary body, pixel shuffle, the input enlarged and added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 1, 1)
        self.body = nn.Sequential(*(SignConv(8, 8, 3, padding=1, bias=False) for _ in range(2)))
        self.widen, self.last = (
            SignConv(8, 32, 3, padding=1, bias=False),
            nn.Conv2d(8, 3, 3, 1, 1),
        )
        self.shuffle, self.act = nn.PixelShuffle(2), nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 130.0
        y = self.act(self.first(x))
        y = self.body(y) + y
        wide = self.act(self.shuffle(self.widen(y)))
        y = wide + F.interpolate(y, scale_factor=2, mode="nearest")
        y = self.last(y)
        y += F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return y / 130.0


class Folded(nn.Module):
    """Reflected to a multiple of four, downsampled, upsampled by cutting off what was added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.conv, self.last = SignConv(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, high, wide = x.shape
        y = self.first(F.pad(x, [0, -wide % 4, 0, -high % 4], mode="reflect"))
        small = self.conv(F.avg_pool2d(y, 2, 2))
        y = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False) + y
        return self.last(F.gelu(y))[:, :, :high, :wide] + x


class Repeated(nn.Module):
    """More channels out than in: the shortcut repeats its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = SignConv(8, 16, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + torch.repeat_interleave(x, 2, 1)


class UnitLength(nn.Module):
    """Pixels scaled to unit length across channels, then a learnt gain."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gain = SignConv(8, 8, 3, padding=1), nn.Parameter(torch.full((8,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        norm = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        x = torch.div(x, norm)
        return self.gain.unsqueeze(0).unsqueeze(2).unsqueeze(3).expand_as(x) * x


class Thermometer(nn.Module):
    """Every byte of the image as a thermometer of signs, in front of a binary first layer."""

    def __init__(self, levels: int = 8) -> None:
        super().__init__()
        self.levels, self.weight = levels, nn.Parameter(torch.randn(8, 3 * levels, 3, 3))
        self.register_buffer("marks", torch.arange(levels).float().view(1, 1, -1, 1, 1))
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        level = torch.round((x * 255.0).view(n, c, 1, h, w) / 32)
        signs = (self.marks < level).float()
        signs *= 2.0
        signs -= 1.0
        signs = signs.view(n, self.levels * c, h, w).detach()
        return self.norm(F.conv2d(signs, PlainSign.apply(self.weight), None, 1, 1))


class Boxes(nn.Module):
    """A detector's head: maps of two sizes permuted, flattened and joined; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.down = SignConv(8, 8, 3, stride=2, padding=1, bias=False)
        self.places = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        maps = [x, self.down(x)]
        found = [
            p(m).permute(0, 2, 3, 1).contiguous() for p, m in zip(self.places, maps, strict=True)
        ]
        joined = torch.cat([f.view(f.size(0), -1) for f in found], 1)
        return joined.view(joined.size(0), -1, 4), maps[1]


SPELLINGS = (
    Spelling("centred per image", lambda: Body(Centred("")), 1),
    Spelling("normalised per image by std", lambda: Body(Centred("std")), 1),
    Spelling("normalised per image by var", lambda: Body(Centred("var")), 1),
    Spelling("centred per channel of an image", lambda: Body(Standardised()), 1),
    Spelling("enlarged by pixel shuffle", Enlarged, 3, floats=2),
    Spelling("reflected, folded, cut", Folded, 1, floats=2, shape=(1, 3, 10, 13)),
    Spelling("repeated channels", lambda: Body(Repeated(), out=16), 1),
    Spelling("unit length", lambda: Body(UnitLength()), 1),
    Spelling("thermometer of the image", Thermometer, 1, floats=0),
    Spelling("heads of two sizes joined", Boxes, 1, floats=3),
)
