"""What `benchmarks.cuda` runs: networks compiled here, with the CPU's results, for a machine that
has neither TVM nor this checkout's other requirements.
"""

import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import bnn_compiler
from benchmarks import cuda_goals, cuda_parts
from benchmarks.cuda_device import images
from bnn_compiler import zoo
from bnn_compiler.errors import BnnCompilerError
from bnn_compiler.latency import kit
from bnn_compiler.nn import BinaryConv2d, BinaryLinear, Sign
from bnn_compiler.options import Options
from bnn_compiler.runtime.manifest import FORMAT
from bnn_compiler.tune.network import Subject, export_candidates

#: What all files together may take.
MOST_BYTES = 55 << 20
#: The 3x3 layers of ResNet-18, and the chains whose difference is a layer's time.
LAYERS, CHAINS = ((64, 56), (128, 28), (256, 14), (512, 7)), (2, 8)
SQUARE = 8192
#: Rows of weights that differ, where only times are looked at: what repeats is packed well.
DISTINCT = 16
#: Cases whose kernels' schedules are measured.
TUNED = ("birealnet18_1", "birealnet18_64", "birealnet18_64_reorder")


@dataclass(frozen=True)
class Case:
    """A network to compile: its ``part`` of the benchmark, and a maker of (module, one input)."""

    name: str
    part: str
    make: Callable[[], tuple[nn.Module, Tensor]]
    allow_reorder: bool = False


class Chain(nn.Module):
    """Equal binary 3x3 layers with batch norms and shortcuts."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                Sign(), BinaryConv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
            )
            for _ in range(length)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x) + x
        return x


class Halves(nn.Module):
    """Float layers that --allow-reorder computes on tensor cores, and no sign behind them."""

    def __init__(self) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)]
        self.stem, self.down = nn.Sequential(*stem), nn.Conv2d(64, 128, 1, bias=False)
        self.head = nn.Linear(128, 40)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.down(self.stem(x)).mean((2, 3)))
        return y


def _network(name: str, size: int, width: float, batch: int) -> tuple[nn.Module, Tensor]:
    options: dict[str, Any] = {"width": width}
    if name == "bop_net":
        options["size"] = size
    elif width < 1 and name != "bireal_depth":
        options["num_classes"] = 40
    model = zoo.get(name)(**options)
    x = torch.zeros(1, 3, size, size)
    zoo.randomize(model, x, signed=name in ("xnornet", "bop_net"))
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and width == 1.0:
            # Half as many bits to carry; sums of products still round in every order differently.
            layer.weight.data = layer.weight.data.bfloat16().float()
    return model.eval(), torch.zeros(batch, 3, size, size)


def _halves(batch: int) -> tuple[nn.Module, Tensor]:
    model, x = Halves(), torch.zeros(batch, 3, 64, 64)
    zoo.randomize(model, x[:1])
    return model.eval(), x


def _repeated(layer: nn.Module) -> None:
    """Every weight of output i is that of output i + DISTINCT."""
    weight: Tensor = layer.weight.data  # type: ignore[assignment]
    layer.weight.data = weight[torch.arange(len(weight)) % DISTINCT].clone()


def _chain(channels: int, side: int, length: int, batch: int) -> tuple[nn.Module, Tensor]:
    model = Chain(channels, length)
    zoo.randomize(model, torch.zeros(1, channels, side, side))
    for layer in model.modules():
        if isinstance(layer, BinaryConv2d):
            _repeated(layer)
    return model.eval(), torch.zeros(batch, channels, side, side)


def _square() -> tuple[nn.Module, Tensor]:
    layer = BinaryLinear(SQUARE, SQUARE)
    _repeated(layer)
    return nn.Sequential(Sign(), layer).eval(), torch.zeros(SQUARE, SQUARE)


def cases() -> Iterator[Case]:
    """Every network, the most telling first."""
    for name in sorted(zoo.NETWORKS):
        size = 64 if name == "bop_net" else 96
        yield Case(f"{name}_small", "exact", lambda n=name, s=size: _network(n, s, 0.25, 2))
    yield Case("halves", "halves", lambda: _halves(2), allow_reorder=True)
    for case in cuda_goals.RATIOS:
        name, _, batch = cuda_goals.peer(case).rpartition("_")
        yield Case(
            case,
            "networks",
            lambda n=name, b=int(batch): _network(n, 224, 1.0, b),
            allow_reorder=case.endswith("_reorder"),
        )
    for channels, side in LAYERS:
        for batch in (1, 64):
            for length in CHAINS:
                yield Case(
                    f"layer{channels}_{batch}_{length}",
                    "layers",
                    lambda c=channels, s=side, n=length, b=batch: _chain(c, s, n, b),
                )
    yield Case(f"square{SQUARE}", "square", _square)


def compile_cases(
    folder: Path, target: str, chosen: Iterable[Case], tell: Callable[[str], None] = lambda _: None
) -> None:
    """Compile cases for ``target``, and those that are to be exact for this CPU, whose results are
    kept. What cannot be compiled is listed in cases.json with its error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, object]] = {}
    for case in chosen:
        tell(case.name)
        entry: dict[str, object] = {"part": case.part, "allow_reorder": case.allow_reorder}
        try:
            entry["bytes"] = _compile(case, folder, target)
        except (BnnCompilerError, MemoryError) as e:
            entry["error"] = str(e)
        found[case.name] = entry
        listed = {"format": FORMAT, "target": target, "cases": found}
        (folder / "cases.json").write_text(json.dumps(listed, indent=1))


def compile_all(
    folder: Path, target: str, trials: int, programs: int, tell: Callable[[str], None]
) -> None:
    """Compile every case, then kits of ``trials`` schedules of each kernel, and of ``programs`` for
    a latency model. Raises SystemExit for a folder that is too large to be carried.
    """
    compile_cases(folder, target, cases(), tell)
    kits(folder / cuda_parts.KITS, target, trials, programs, tell)
    size = sum(p.stat().st_size for p in folder.iterdir())
    tell(f"{size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        raise SystemExit(f"the folder has {size / 2**20:.1f} MiB, more than {MOST_BYTES >> 20}")


def kits(
    archive: Path, target: str, trials: int, programs: int, tell: Callable[[str], None]
) -> None:
    """All kits in one archive, as most of their constants are the same."""
    with tempfile.TemporaryDirectory() as inside:
        if programs:
            tell("kit of whole programs")
            made = Path(inside) / cuda_parts.CALIBRATION / "bnn-kit-calibration"
            made.parent.mkdir()
            kit.export(target, made, count=programs)
        for case in cases():
            if not trials or case.name not in TUNED:
                continue
            tell(f"kit of {case.name}")
            model, x = _made(case)
            options = Options.of(allow_reorder=case.allow_reorder)
            tuned = Subject.of(model, (x,), target=target, options=options)
            packed = Path(inside) / "kit.tar.gz"
            export_candidates(tuned, packed, trials=trials)
            with tarfile.open(packed) as tar:
                tar.extractall(Path(inside) / case.name, filter="data")
            packed.unlink()
        names = sorted(p.name for p in Path(inside).iterdir())
        if names:
            # The window of this preset has 64 MiB.
            with tarfile.open(archive, "w:xz", preset=9) as tar:
                for name in names:
                    tar.add(Path(inside) / name, name)


def _made(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return case.make()


def _compile(case: Case, folder: Path, target: str) -> int:
    """The artifact's bytes."""
    model, x = _made(case)
    path = folder / f"{case.name}.bnn"
    with bnn_compiler.compile(
        model, (x,), target=target, output=path, check=False, allow_reorder=case.allow_reorder
    ) as net:
        size = net.size_bytes
    if case.part in ("exact", "halves", "networks"):
        np.save(folder / f"{case.name}.npy", _on_cpu(model, images(case.name, tuple(x.shape))))
    return size


def _on_cpu(model: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The results of this CPU, image by image: they do not depend on the batch."""
    with tempfile.TemporaryDirectory() as folder:
        example = (torch.from_numpy(x[:1]),)
        path = Path(folder) / "cpu.bnn"
        with bnn_compiler.compile(model, example, output=path, check=False) as net:
            rows = [net.run(x[i : i + 1]) for i in range(len(x))]
    return np.concatenate(rows)
