"""Is a latency model of a GPU right about networks it never saw?

    python -m benchmarks.cuda_latency --export KIT                         # anywhere with nvcc
    sh KIT/run.sh                                                          # where the GPU is
    python -m benchmarks.cuda_latency --results KIT/results.json --calibrated CALIBRATION

KIT holds whole networks, random plans of ReActNet-A and Bi-Real-18 for one image and for eight,
launched as an artifact launches them: early, in one CUDA graph, timed by events. CALIBRATION are
the results of the kit that `bnnc calibrate` made the model of: the baselines learn from them too.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
import torch

from benchmarks import report
from benchmarks.latency_model import OURS, Quality, quality, table
from benchmarks.latency_networks import NETWORKS
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.latency import LatencyModel, baselines, kit, linked, making, places, programs
from bnn_compiler.latency import model as models
from bnn_compiler.latency.calibrate import undisturbed
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.sample import Sample
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan as planning

NAMES, BATCHES, _SIDE = ("reactnet_a", "birealnet18"), (1, 8), 224
TABLE = "layer table, summed"


def draw(schedules: Schedules, network: str, number: int) -> list[kit.Drawn]:
    """A plan of ``network``, compiled for each batch size."""
    made = NETWORKS[network]
    plan = made.draw(Random(f"cuda {network} {number}"))
    torch.manual_seed(number)
    x = torch.zeros(1, 3, _SIDE, _SIDE)
    base = planning.plan(Network.of(made.make(plan), (x,)).fused(Options()))
    found = []
    for batch in BATCHES:
        kernels = tuple(k.of_batch(batch) for k in Kernel.of_plan(base))
        built = making.of(schedules.target).compiled(
            programs.substitute(base, kernels), schedules, f"{network}_{number}_{batch}"
        )
        found.append(kit.Drawn(f"{network}_{batch}", {**plan, "batch": batch}, kernels, built))
    return found


def export(folder: Path, schedules: Schedules, count: int) -> kit.Kit:
    """A kit of ``count`` plans of each network."""
    ahead = making.of(schedules.target).compiled(places.reference_plan(), schedules, linked.AHEAD)
    drawn = []
    for number in range(count):
        for network in NAMES:
            drawn += draw(schedules, network, number)
            print(f"{network} {number}", flush=True)
    return kit.write(folder, schedules, ahead, drawn)


def compare(
    model: LatencyModel, learnt: Sequence[Sample], asked: Sequence[Sample]
) -> list[Quality]:
    """Every predictor on every network of ``asked`` and on all; baselines know ``learnt``."""
    ours = model.predict_kernels([s.kernels for s in asked])
    measured = np.array([s.seconds * model.about.reference / s.reference for s in asked])
    predicted = {OURS: ours.seconds}
    known = [s.kernels for s in learnt]
    seconds = np.array([s.seconds for s in learnt])
    for name, counts in baselines.LINEAR.items():
        predicted[name] = baselines.linear(counts, known, seconds)([s.kernels for s in asked])
    layers = baselines.table(known, [s.steps for s in learnt])
    predicted[TABLE] = layers([s.kernels for s in asked])
    names = np.array([s.network for s in asked])
    rows = []
    for network in [*dict.fromkeys(names.tolist()), "all"]:
        mine = (names == network) | (network == "all")
        for name, found in predicted.items():
            row = quality(network, name, found[mine], measured[mine])
            held = float(((ours.low <= measured) & (measured <= ours.high))[mine].mean())
            rows.append(Quality(**{**asdict(row), "coverage": held if name == OURS else None}))
    return rows


def _read(target: targets.Target, path: Path) -> tuple[str, list[Sample]]:
    machine, samples = kit.timed(target, path)
    return machine, undisturbed(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description="A GPU's latency model against measured networks.")
    parser.add_argument("--target", default="cuda-sm90")
    parser.add_argument("--plans", type=int, default=8, help="of each network, for --export")
    parser.add_argument("--model", type=Path, help="a model's file (default: as bnnc predict)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--export", type=Path, metavar="KIT", help="compile, and write a kit")
    what.add_argument("--results", type=Path, help="what the kit measured")
    parser.add_argument("--calibrated", type=Path, help="results of the model's own kit")
    options = parser.parse_args()
    target = targets.load(options.target)
    schedules = Schedules.load(target)
    if options.export:
        print(export(options.export, schedules, options.plans))
        return
    if options.calibrated is None:
        parser.error("--results needs --calibrated: baselines learn from that")
    path = options.model
    model = LatencyModel.load(target) if path is None else models.read(path, schedules)
    machine, asked = _read(target, options.results)
    _, learnt = _read(target, options.calibrated)
    rows = compare(model, learnt, asked)
    noise = {
        name: (float(np.median(some)), float(np.quantile(some, 0.9)))
        for name in dict.fromkeys(s.network for s in asked)
        for some in [[s.noise for s in asked if s.network == name]]
    }
    text = f"{table(rows, noise)}\n\n{machine}; {model.about.text}"
    print(text)
    parts = {
        "machine": machine,
        "model": asdict(model.about),
        "rows": [asdict(r) for r in rows],
        "noise": noise,
        "networks": [
            {"network": s.network, "plan": s.plan, "seconds": s.seconds, "steps": s.steps}
            for s in asked
        ],
    }
    report.RESULTS.mkdir(exist_ok=True)
    (report.RESULTS / "cuda_latency.json").write_text(report.as_json(parts, indent=2))
    (report.RESULTS / "cuda_latency.md").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
