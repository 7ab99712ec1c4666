"""Networks of the tests of latency: some of the zoo, small, and a user's own."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler import zoo
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, BinaryLinear, RPReLU, RSign, Shortcut, Sign
from bnn_compiler.options import Options
from bnn_compiler.plan import plan as planning


class Gain(nn.Module):
    """A user's own layer: a parameter [1, C, 1, 1] and the count it was made with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features = channels
        self.gain = nn.Parameter(torch.rand(1, channels, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain.expand_as(x)


class FlatConv(nn.Module):
    """A user's own binary convolution: weights [N, 1], viewed by a shape that it keeps."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.shape = i, o, (o, i, 3, 3)
        self.weights = nn.Parameter(torch.randn(o * i * 9, 1))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.in_channels
        real = self.weights.view(self.shape)
        scale = real.abs().mean(dim=(1, 2, 3), keepdim=True).detach()
        soft = real.clamp(-1, 1)
        return F.conv2d(x, (scale * real.sign()).detach() - soft.detach() + soft, padding=1)


class Forked(nn.Module):
    """Depthwise, two branches of other widths, concat, grouped, a sum, flatten of images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 40, 3, 2, 1, bias=False), nn.BatchNorm2d(40)
        self.deep = nn.Conv2d(40, 80, 3, padding=1, groups=40)
        self.sign = Sign()
        self.left, self.bn_left = FlatConv(80, 36), nn.BatchNorm2d(36)
        self.right, self.act = nn.Conv2d(80, 24, 1), nn.PReLU(24)
        self.mixed = BinaryConv2d(60, 48, 3, padding=1, groups=4)
        self.gain = Gain(48)
        self.side = nn.Conv2d(60, 48, 1)
        self.hidden, self.norm = nn.Linear(48 * 4, 20), nn.BatchNorm1d(20)
        self.head = BinaryLinear(20, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.bn(self.stem(x)))
        x = torch.cat([self.bn_left(self.left(self.sign(x))), self.act(self.right(x))], 1)
        x = self.gain(self.mixed(self.sign(x))) + self.side(x)
        x = torch.flatten(F.max_pool2d(x, 4), 1)
        return self.head(self.sign(self.norm(self.hidden(x))))


def forked() -> nn.Module:
    torch.manual_seed(0)
    return Forked().eval()


class Residual(nn.Module):
    """Blocks whose shortcuts run between any channel counts; their convolutions are all free."""

    def __init__(self, channels: tuple[int, ...] = (24, 24, 40, 40, 28, 36)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 3, 1, 1), nn.BatchNorm2d(channels[0]))
        self.signs, self.convs, self.shortcuts, self.acts = (nn.ModuleList() for _ in range(4))
        for i, (a, b) in enumerate(pairwise(channels)):
            stride = 2 if i in (1, 4) else 1
            self.signs.append(RSign(a))
            conv = BinaryConv2d(a, b, 3, stride=stride, padding=1)
            self.convs.append(nn.Sequential(conv, nn.BatchNorm2d(b)))
            self.shortcuts.append(Shortcut(stride))
            self.acts.append(RPReLU(b))
        self.fc = nn.Linear(channels[-1], 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, sign in enumerate(self.signs):
            x = self.acts[i](self.shortcuts[i](x, self.convs[i](sign(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval()


def of_zoo(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return zoo.get(name)(num_classes=10, **options).eval()


#: Channels per group of the 3x3 and 1x1 of each block.
GROUPED = ((1, 2), (4, 0), (0, 8), (32, 1))
#: name -> (factory, side of the image)
NETWORKS = {
    "forked": (forked, 16),
    "residual": (residual, 16),
    "bop_net": (lambda: of_zoo("bop_net", width=0.4, size=16), 16),
    "xnornet": (lambda: of_zoo("xnornet", width=0.4), 16),
    "mobinet": (lambda: of_zoo("mobinet", width=0.25, plan=GROUPED), 16),
    "birealnet18": (lambda: of_zoo("birealnet18", width=0.6), 32),
    "reactnet_a": (lambda: of_zoo("reactnet_a", width=0.75), 32),
}


def draw(space, r):
    """A random plan: any counts, often 1, 3, 33 or all; some batches and groups."""
    plan = {}
    for name, full in space.groups.items():
        few = min(full, r.choice([1, 3, 33, full]))
        plan[name] = few if r.random() < 0.15 else r.randint(2, full)
    if r.random() < 0.3:
        plan["batch"] = 3
    for name, full in space.convolutions.items():
        counts = space.group_counts(name, plan)
        if not counts:
            return draw(space, r)
        if full not in counts or r.random() < 0.3:
            plan[name] = r.choice(counts)
    return plan


def compiled(model, x):
    """The kernels of a network as compiling it gives them."""
    return Kernel.of_plan(planning.plan(Network.of(model, (x,)).fused(Options())))


def fresh(space, plan, side):
    """Those of the pruned network."""
    x = torch.zeros(plan.get("batch", space.batch), 3, side, side)
    return compiled(space.crop(plan), x)
