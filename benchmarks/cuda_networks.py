"""What `benchmarks.cuda` runs: networks compiled here, with the CPU's results, for a machine that
has neither TVM nor this checkout's other requirements.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import bnn_compiler
from benchmarks.cuda_device import images
from bnn_compiler import zoo
from bnn_compiler.errors import BnnCompilerError
from bnn_compiler.nn import BinaryConv2d, BinaryLinear, Sign
from bnn_compiler.tune.network import Subject, export_candidates

#: What all files together may take.
MOST_BYTES = 64 << 20
#: The 3x3 layers of ResNet-18, and the chains whose difference is a layer's time.
LAYERS, CHAINS = ((64, 56), (128, 28), (256, 14), (512, 7)), (2, 8)
TIMED = ("birealnet18", "reactnet_a")
BATCHES = (1, 8, 64)
SQUARE = 8192
#: Cases whose kernels' schedules are measured.
TUNED = ("birealnet18_1", "birealnet18_64", f"square{SQUARE}")


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


def _network(name: str, size: int, width: float, batch: int) -> tuple[nn.Module, Tensor]:
    factory = zoo.get(name)
    model = factory(width=width, size=size) if name == "bop_net" else factory(width=width)
    x = torch.zeros(1, 3, size, size)
    zoo.randomize(model, x, signed=name in ("xnornet", "bop_net"))
    return model.eval(), torch.zeros(batch, 3, size, size)


def _chain(channels: int, side: int, length: int, batch: int) -> tuple[nn.Module, Tensor]:
    model = Chain(channels, length)
    zoo.randomize(model, torch.zeros(1, channels, side, side))
    return model.eval(), torch.zeros(batch, channels, side, side)


def _square() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(Sign(), BinaryLinear(SQUARE, SQUARE))
    return model.eval(), torch.zeros(SQUARE, SQUARE)


def cases() -> Iterator[Case]:
    """Every network, the most telling first."""
    for name in sorted(zoo.NETWORKS):
        size = 64 if name == "bop_net" else 96
        yield Case(f"{name}_small", "exact", lambda n=name, s=size: _network(n, s, 0.25, 2))
    for name in TIMED:
        for batch in BATCHES:
            case = f"{name}_{batch}"
            yield Case(case, "networks", lambda n=name, b=batch: _network(n, 224, 1.0, b))
    for channels, side in LAYERS:
        for batch in (1, 64):
            for length in CHAINS:
                yield Case(
                    f"layer{channels}_{batch}_{length}",
                    "layers",
                    lambda c=channels, s=side, n=length, b=batch: _chain(c, s, n, b),
                )
    yield Case(f"square{SQUARE}", "square", _square)


def compile_all(folder: Path, target: str, trials: int, tell: Callable[[str], None]) -> None:
    """Compile every case for ``target``, and each but the square for this CPU, whose results are
    kept; and kits of ``trials`` schedules of each kernel. What cannot be compiled is listed with
    its error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, object]] = {}
    for case in cases():
        tell(case.name)
        entry: dict[str, object] = {"part": case.part}
        try:
            torch.manual_seed(0)
            model, x = case.make()
            path = folder / f"{case.name}.bnn"
            options = {"target": target, "check": False, "allow_reorder": case.allow_reorder}
            with bnn_compiler.compile(model, (x,), output=path, **options) as net:
                entry["bytes"] = net.size_bytes
            if case.part in ("exact", "networks"):
                np.save(
                    folder / f"{case.name}.npy", _on_cpu(model, images(case.name, tuple(x.shape)))
                )
            if trials and case.name in TUNED:
                tuned = Subject.of(model, (x,), target=target)
                export_candidates(tuned, folder / f"{case.name}.kit.tar.gz", trials=trials)
        except (BnnCompilerError, MemoryError) as e:
            entry["error"] = str(e)
        found[case.name] = entry
        (folder / "cases.json").write_text(json.dumps({"target": target, "cases": found}, indent=1))
    size = sum(p.stat().st_size for p in folder.iterdir())
    tell(f"{size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        raise SystemExit(f"the folder has {size / 2**20:.1f} MiB, more than {MOST_BYTES >> 20}")


def _on_cpu(model: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The results of this CPU, image by image: they do not depend on the batch."""
    with tempfile.TemporaryDirectory() as folder:
        example = (torch.from_numpy(x[:1]),)
        path = Path(folder) / "cpu.bnn"
        with bnn_compiler.compile(model, example, output=path, check=False) as net:
            rows = [net.run(x[i : i + 1]) for i in range(len(x))]
    return np.concatenate(rows)
