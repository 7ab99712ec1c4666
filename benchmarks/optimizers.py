"""Bop against Adam with latent weights: accuracy, and memory while training.

`python -m benchmarks.optimizers`. One network whose weights are exactly -1 / +1 (`zoo.bop_net`),
one recipe but for the optimizer of the binary weights. Each optimizer has three settings, of which
the images to choose by pick one; that one is trained with every seed. Results of single trainings
stay in ``--folder``: stopped, the same command goes on.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import nn

from benchmarks import machine, report
from benchmarks.search_networks import FASHION, FIRST, FULL, Size, Some
from bnn_compiler import zoo
from bnn_compiler.files import replace_text
from bnn_compiler.nn import Bop, BopSchedule, recipes
from bnn_compiler.nn.bop import linear
from bnn_compiler.nn.parameters import Parameters
from bnn_compiler.nn.recipes import Optimizers
from bnn_compiler.search.data import Splits
from bnn_compiler.search.deterministic import deterministic
from bnn_compiler.search.recalibrate import accuracy, recalibrate_on
from bnn_compiler.search.train import Settings, fit

Make = Callable[[nn.Module, int], Optimizers]


@dataclass(frozen=True)
class Variant:
    """An optimizer with one setting."""

    optimizer: str
    setting: str
    make: Make


def _adam(rate: float) -> Variant:
    return Variant(
        "Adam, latent weights",
        f"rate {rate:g}, linear to 0",
        lambda model, steps: recipes.adam(model, steps, lr=rate),
    )


def _bop(gamma: float) -> Variant:
    def make(model: nn.Module, steps: int) -> Optimizers:
        if gamma == 1e-4:
            return recipes.bop_imagenet(model, steps)
        parameters = Parameters.of(model)
        bop = Bop(parameters.binary, threshold=1e-8, gamma=gamma)
        rest = torch.optim.Adam(parameters.real_groups(), lr=2.5e-3)
        rate = torch.optim.lr_scheduler.LambdaLR(rest, lambda step: max(0.0, 1 - step / steps))
        schedule = BopSchedule(bop, gamma=linear(gamma, gamma / 100, steps))
        return Optimizers((bop, rest), (schedule, rate))

    published = ", as published for ImageNet" if gamma == 1e-4 else ""
    return Variant("Bop", f"gamma {gamma:g}, linear to a hundredth{published}", make)


VARIANTS = (*map(_adam, (1e-3, 3e-3, 1e-2)), *map(_bop, (1e-4, 1e-3, 1e-2)))


def network(size: int = 32) -> nn.Module:
    """The network of the comparison."""
    return zoo.bop_net(width=0.25, in_channels=1, size=size)


def trained(variant: Variant, splits: Splits, settings: Settings) -> tuple[float, float]:
    """Accuracies on the images to choose by and on the test images."""
    with deterministic(settings.seed):
        model = network()
    steps = settings.epochs * (len(splits.train) // settings.batch)
    fit(model, splits.train, settings, optimizers=variant.make(model, steps))
    with deterministic(settings.seed):
        recalibrate_on(model, splits.train)
        return accuracy(model, splits.choose), accuracy(model, splits.test)


def memory(variant: Variant) -> dict[str, int]:
    """Bytes that training holds besides activations: weights, gradients, the optimizers' state, and
    the state of the binary weights alone.
    """
    model = network()
    optimizers = variant.make(model, 10)
    model(torch.zeros(2, 1, 32, 32)).sum().backward()
    optimizers.step()
    binary = set(Parameters.of(model).binary)
    held = {"weights": 0, "gradients": 0, "state": 0, "state of binary weights": 0}
    for p in model.parameters():
        held["weights"] += p.nbytes
        held["gradients"] += 0 if p.grad is None else p.grad.nbytes
    for optimizer in optimizers.optimizers:
        for p, state in optimizer.state.items():
            size = sum(v.nbytes for v in state.values() if isinstance(v, torch.Tensor))
            held["state"] += size
            held["state of binary weights"] += size if p in binary else 0
    return held


@dataclass
class Journal:
    """Accuracies by variant and seed, on disk after every training."""

    path: Path

    def read(self) -> dict[str, list[float]]:
        """All of them."""
        found: dict[str, list[float]] = {}
        if self.path.is_file():
            found = json.loads(self.path.read_text())
        return found

    def of(self, variant: Variant, seed: int, train: Callable[[], tuple[float, float]]) -> Any:
        """(chosen by, tested), trained if it is not known."""
        name = f"{variant.optimizer}, {variant.setting}, seed {seed}"
        known = self.read()
        if name not in known:
            known[name] = list(train())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(self.path, json.dumps(known, indent=1))
            print(f"{name}: {known[name][1]:.2%}", flush=True)
        return known[name]


def compare(splits: Splits, recipe: Settings, journal: Journal, seeds: int) -> list[dict[str, Any]]:
    """A row for the best setting of each optimizer, all settings with it."""

    def one(variant: Variant, seed: int) -> Any:
        settings = Settings(**{**vars(recipe), "seed": seed})
        return journal.of(variant, seed, lambda: trained(variant, splits, settings))

    rows = []
    for optimizer in dict.fromkeys(v.optimizer for v in VARIANTS):
        mine = [v for v in VARIANTS if v.optimizer == optimizer]
        first = {v.setting: one(v, 0) for v in mine}
        best = max(mine, key=lambda v: first[v.setting][0])
        rows.append(
            {
                "optimizer": optimizer,
                "setting": best.setting,
                "tests": [one(best, seed)[1] for seed in range(seeds)],
                "settings": {name: value[1] for name, value in first.items()},
                "memory": memory(best),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| optimizer of the binary weights | setting | test accuracy, mean (least to most) | seeds"
        " | weights, kB | gradients, kB | optimizer state, kB | of it for binary weights, kB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        tests, held = row["tests"], row["memory"]
        sizes = " | ".join(f"{value / 1e3:.0f}" for value in held.values())
        lines.append(
            f"| {row['optimizer']} | {row['setting']} | {fmean(tests):.2%} ({min(tests):.2%} to"
            f" {max(tests):.2%}) | {len(tests)} | {sizes} |"
        )
    others = [
        f"{row['optimizer']}: " + "; ".join(f"{s}: {v:.2%}" for s, v in row["settings"].items())
        for row in rows
    ]
    return "\n".join([*lines, "", "With one seed: " + ". ".join(others) + "."])


def _splits(data: Path, size: Size) -> Splits:
    where = Path(), size.recipe, size.supernet_epochs
    task = Some("", (1, 1, 32, 32), str(data), *where, images=size.images, chosen_by=size.choose)
    return task.splits


def main() -> None:
    parser = argparse.ArgumentParser(description="Bop against Adam with latent weights.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", action="store_true", help="a first look, of minutes")
    parser.add_argument("--data", type=Path, default=FASHION, help="a folder of IDX files")
    parser.add_argument("--folder", type=Path, help="what was done, to resume (in the cache)")
    options = parser.parse_args()
    size, name = (FIRST, "optimizers_first") if options.first else (FULL, "optimizers")
    folder = options.folder or user_cache_path("bnn_compiler") / "search-benchmark"
    with machine.LoadMeter() as meter:
        rows = compare(
            _splits(options.data, size), size.recipe, Journal(folder / f"{name}.json"),
            options.seeds,
        )  # fmt: skip
    words = (
        f"Fashion-MNIST, {size.images:,} images, {size.recipe.epochs} epochs in batches of"
        f" {size.recipe.batch}. Binary weights are kept as float32 by both; Bop's need one bit and"
        " one moving average each, Adam's a latent weight and two averages."
    )
    setting = report.Setting(machine.describe(), None, meter.load)
    print(report.write(name, f"{table(rows)}\n\n{words}", setting, rows=rows).read_text())


if __name__ == "__main__":
    main()
