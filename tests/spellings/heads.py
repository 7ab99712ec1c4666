"""What public code puts behind the last layer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spellings.spelling import SignConv, SignLinear, Spelling, stem


class Classifier(nn.Module):
    """One binary convolution, pooled, and ``head`` of what is left [N, 16]."""

    def __init__(self, head: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.stem, self.conv = stem(8), SignConv(8, 16, 3, padding=1, bias=False)
        self.norm, self.layers, self.head = nn.BatchNorm2d(16), nn.Sequential(*layers), head

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.norm(self.conv(self.stem(x))), 12)
        return self.head(self.layers(x.view(x.size(0), -1)))


class Scaled(nn.Module):
    """A learnt gain of the whole tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class AxisByAxis(nn.Module):
    """The mean over one axis, then over the next."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = stem(8), SignConv(8, 16, 3, padding=1, bias=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(self.stem(x)).mean(dim=2).mean(dim=2))


class Detector(nn.Module):
    """Boxes and scores of every place, and the boxes they are relative to, which are constants."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = stem(8), nn.BatchNorm2d(8)
        self.boxes = SignConv(8, 8, 3, padding=1, bias=False)
        self.scores = nn.Conv2d(8, 6, 3, padding=1)
        self.register_buffer("priors", torch.rand(12 * 12 * 2, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        x = self.norm(self.boxes(self.stem(x)))
        boxes, scores = (y.permute(0, 2, 3, 1).contiguous() for y in (x, self.scores(x)))
        scores = scores.view(x.size(0), -1, 3)
        return boxes.view(x.size(0), -1, 4), None, F.softmax(scores, dim=-1), self.priors


def _same(x: Tensor) -> Tensor:
    return x


SPELLINGS = (
    Spelling("log of softmax", lambda: Classifier(nn.LogSoftmax(dim=1), nn.Linear(16, 5)), 1, 2),
    Spelling(
        "log of softmax, dimension left out",
        lambda: Classifier(nn.LogSoftmax(), nn.Linear(16, 5)),
        1,
        2,
    ),
    Spelling("softmax", lambda: Classifier(nn.Softmax(dim=-1), nn.Linear(16, 5)), 1, 2),
    Spelling(
        "binary head, normalised, log of softmax",
        lambda: Classifier(
            nn.LogSoftmax(dim=1),
            nn.BatchNorm1d(16),
            nn.Hardtanh(inplace=True),
            SignLinear(16, 5),
            nn.BatchNorm1d(5, affine=False),
        ),
        2,
    ),
    Spelling(
        "binary head with a gain",
        lambda: Classifier(_same, SignLinear(16, 5, bias=False), Scaled()),
        2,
    ),
    Spelling("detector that returns its priors and None", Detector, 1, 2),
    Spelling("mean of one axis after the other", AxisByAxis, 1, 2),
    Spelling("index of the largest", lambda: Classifier(_argmax, nn.Linear(16, 5)), 1, 2),
)


def _argmax(x: Tensor) -> Tensor:
    return x.argmax(1)
