"""Train a small ReActNet-style network on real digits, compile it for this CPU, compare the two.

`make demo` runs this. The data is scikit-learn's digits (1797 images of 8x8 pixels).
"""

import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import bnn_compiler
from bnn_compiler.zoo.reactnet import Block

BUILD = Path("build/demo")
BATCH = 32


class DigitsNet(nn.Module):
    """Float 3x3 stem, four ReActNet blocks, float classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64))
        self.blocks = nn.Sequential(
            Block(64, 64, 1, 0), Block(64, 128, 2, 0), Block(128, 128, 1, 0), Block(128, 256, 2, 0)
        )
        self.fc = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 10]."""
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels; pixels in [-1, 1]."""
    digits = load_digits()
    images = (digits.images[:, None] / 8 - 1).astype(np.float32)
    parts = train_test_split(
        images, digits.target, test_size=0.25, random_state=0, stratify=digits.target
    )
    a, b, c, d = (torch.as_tensor(p) for p in parts)
    return a, c.long(), b, d.long()


def train(seed: int = 0, epochs: int = 12) -> nn.Module:
    """A trained network; straight-through gradients, Adam, one cycle of the learning rate."""
    torch.manual_seed(seed)
    images, labels, _, _ = data()
    model, steps = DigitsNet(), epochs * (len(images) // 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64)[: len(images) // 64]:
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def trained() -> nn.Module:
    """The network of an earlier run, or a new one."""
    path = BUILD / "digits.pt"
    if path.is_file():
        model = DigitsNet()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    model = train()
    BUILD.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(model.state_dict(), partial)
    partial.replace(path)
    return model


def batches(images: Tensor) -> list[Tensor]:
    """Batches of the compiled size; the last one is padded."""
    padding = -len(images) % BATCH
    return list(torch.cat([images, images[:1].expand(padding, -1, -1, -1)]).split(BATCH))


def times(functions: list[object], x: Tensor, rounds: int = 60) -> list[list[float]]:
    """Seconds of each function, taking turns."""
    results: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function(x)  # type: ignore[operator]
            results[i].append(time.perf_counter() - start)
    return results


def main() -> None:
    """Train or reload, compile, compare, print."""
    console = Console()
    torch.set_num_threads(1)
    start = time.perf_counter()
    model = trained()
    console.print(f"trained or reloaded in {time.perf_counter() - start:.1f} s")
    _, _, images, labels = data()
    example = images[:BATCH]
    start = time.perf_counter()
    net = bnn_compiler.compile(model, (example,), target="native", output=BUILD / "digits.bnn")
    console.print(
        f"compiled for {net.manifest['target']['name']} in {time.perf_counter() - start:.1f} s"
    )
    with torch.no_grad():
        theirs = model(images).argmax(1)
    ours = torch.cat([net.run(b) for b in batches(images)])[: len(images)].argmax(1)
    right = [(p == labels).float().mean().item() for p in (theirs, ours)]
    agree = (ours == theirs).float().mean().item()
    console.print(
        f"accuracy on {len(images)} test images: PyTorch {right[0]:.2%}, compiled {right[1]:.2%};"
        f" they agree on {agree:.2%}"
    )
    console.print(bnn_compiler.verify(net, model, [example]).text())
    table = Table(
        box=None, header_style="bold", title="per layer, batch of 32", title_justify="left"
    )
    for name in ("layer", "us", "binary MMAC", "GMAC/s", "fused", "schedule"):
        table.add_column(name, justify="left" if name in ("layer", "fused") else "right")
    for p in net.profile(example):
        macs = f"{p.macs / 1e6:.1f}" if p.binary else ""
        rate = f"{p.gmacs:.0f}" if p.macs else ""
        fused = ", ".join(p.fused)
        table.add_row(p.name, f"{p.seconds * 1e6:.0f}", macs, rate, fused, p.schedule)
    console.print(table)
    with torch.no_grad():
        a, b = times([net.run, model], example)
    size, checkpoint = net.size_bytes, (BUILD / "digits.pt").stat().st_size
    console.print(
        f"size: artifact {size / 1e3:.0f} kB, checkpoint {checkpoint / 1e3:.0f} kB"
        f" ({checkpoint / size:.1f}x)"
    )
    console.print(
        f"one thread, batch {BATCH}: compiled {statistics.median(a) * 1e3:.2f} ms (min"
        f" {min(a) * 1e3:.2f}), PyTorch {statistics.median(b) * 1e3:.2f} ms (min"
        f" {min(b) * 1e3:.2f}): {statistics.median(b) / statistics.median(a):.0f} times faster"
    )


if __name__ == "__main__":
    main()
