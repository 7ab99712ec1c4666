"""What a user would run instead on a GPU: PyTorch in half precision and int8, in this process.

Imports torch alone: neither torchvision nor TVM is needed.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Basic(nn.Module):
    """A block of ResNet-18, batch norms folded into their convolutions."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inside, outside, 3, stride, 1)
        self.two = nn.Conv2d(outside, outside, 3, 1, 1)
        self.down = nn.Conv2d(inside, outside, 1, stride) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.two(torch.relu(self.one(x))) + self.down(x))


def resnet18() -> nn.Module:
    """The network that Bi-Real-18 replaces."""
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *(Basic(*w) for w in widths), *head)


class Separated(nn.Module):
    """A block of ReActNet-A: a 3x3 and a 1x1, each with a shortcut, norms folded."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(inside, inside, 3, stride, 1), nn.Conv2d(inside, outside, 1)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.doubles = outside != inside
        self.first, self.second = nn.PReLU(inside), nn.PReLU(outside)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.one(x) + self.pool(x))
        return self.second(self.two(y) + (torch.cat((y, y), 1) if self.doubles else y))


def reactnet() -> nn.Module:
    """ReActNet-A's shapes."""
    widths = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)]
    widths += [(256, 512, 2), *[(512, 512, 1)] * 5, (512, 1024, 2), (1024, 1024, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000)]
    return nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), *(Separated(*w) for w in widths), *head)


class Int8(nn.Module):
    """A convolution in int8, NHWC inside: its patches as a matrix, and ``torch._int_mm``.

    PyTorch has no other product of int8 on a GPU: a convolution there takes no bytes, and quantized
    operators are for CPUs. ``step`` is that of the input's levels; a weight's is its channel's.
    """

    def __init__(self, conv: nn.Conv2d, step: float) -> None:
        super().__init__()
        self.size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        w = conv.weight.detach().permute(0, 2, 3, 1).flatten(1)
        scale = w.abs().amax(1) / 127
        self.step = step
        self.register_buffer("levels", torch.round(w / scale[:, None]).to(torch.int8))
        self.register_buffer("scale", scale * step)
        bias = torch.zeros(len(w)) if conv.bias is None else conv.bias.detach()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        (kh, kw), (down, across), (top, left) = self.size, self.stride, self.padding
        q = torch.round(x.float() / self.step).clamp(-127, 127).to(torch.int8)
        q = nn.functional.pad(q.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        patches = q.unfold(1, kh, down).unfold(2, kw, across).permute(0, 1, 2, 4, 5, 3)
        n, h, w = patches.shape[:3]
        sums = torch._int_mm(patches.reshape(n * h * w, -1), self.levels.t())
        y = torch.addcmul(self.bias.float(), sums.float(), self.scale.float())
        return y.to(x.dtype).reshape(n, h, w, -1).permute(0, 3, 1, 2)


def in_int8(model: nn.Module, step: float = 0.05) -> nn.Module:
    """``model`` with all convolutions in int8 but the first: cuBLAS takes no rows of 3 channels."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.in_channels % 8 == 0:
                setattr(parent, name, Int8(child, step))
    return model


NETWORKS: dict[str, Callable[[], nn.Module]] = {"birealnet18": resnet18, "reactnet_a": reactnet}


def _times(run: Callable[[], object], count: int) -> dict[str, float]:
    found = []
    for _ in range(3):
        run()
    for _ in range(count):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end))
    return {"median_ms": statistics.median(found), "min_ms": min(found)}


def _graph(model: Any, x: Tensor, count: int = 50) -> dict[str, float]:
    """Times of a CUDA graph of a model."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(5):
            model(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        model(x)
    return _times(graph.replay, count)


def network(case: str, compiled: bool, int8: bool = False) -> dict[str, float]:
    """A case, NAME_BATCH: half precision, channels last, in a CUDA graph; by inductor if
    ``compiled``, and with convolutions on bytes if ``int8``.
    """
    torch.backends.cudnn.benchmark = True
    name, _, batch = case.rpartition("_")
    model = NETWORKS[name]().eval()
    if int8:
        model = in_int8(model)
    model = model.half().cuda().to(memory_format=torch.channels_last)
    x = torch.randn(int(batch), 3, 224, 224, device="cuda").half()
    x = x.contiguous(memory_format=torch.channels_last)
    return _graph(torch.compile(model) if compiled else model, x)


def products(side: int) -> dict[str, Any]:
    """Square matrix products in int8 and bfloat16, and a device copy in GB/s read and written."""
    a, b = (
        torch.randint(-127, 127, (side, side), device="cuda", dtype=torch.int8) for _ in range(2)
    )
    half = torch.randn(side, side, device="cuda").bfloat16()
    source = torch.empty(256 << 20, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = _times(lambda: target.copy_(source), 20)
    return {
        "int8": _times(lambda: torch._int_mm(a, b.t()), 20),
        "bfloat16": _times(lambda: half @ half, 20),
        "copy_gb_s": 2 * source.numel() / copy["min_ms"] / 1e6,
    }
