"""Whole networks, one thread, 224x224, batch 1: bnn_compiler against OpenVINO, in one run.

`python -m benchmarks.end_to_end` compiles each network for this CPU, builds the OpenVINO graph of
the same torch model, and lets them take turns on one core. It prints a table and writes it, with
the machine, the versions and the load, to benchmarks/results/<name>.md and .json.

The rows of a network: ours, then `openvino` (the network as its authors wrote it) and, where it
differs, `openvino folded` (the same function with fewer operations, see peer_weights.fold).
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch

import bnn_compiler
from benchmarks import machine, openvino_peer, roofline, torch_weights
from benchmarks.peer_weights import Floats, fold
from benchmarks.timing import Program, Timing, alternate, ratio
from bnn_compiler import zoo

RESULTS = Path(__file__).with_name("results")
OURS = "bnn_compiler"
_SHAPE = (1, 3, 224, 224)
_INPUTS = 8


@dataclass(frozen=True)
class Row:
    """One program on one network; times in ms, ratios are our time divided by this one's."""

    network: str
    program: str
    median_ms: float
    minimum_ms: float
    runs: int
    ratio_of_medians: float
    ratio_of_minima: float
    ratio_paired: float


@dataclass(frozen=True)
class Agreement:
    """How far a program's outputs agree with torch's over some inputs.

    A deep binary network is no exact oracle: one sum almost on a threshold that gets the other
    sign moves every logit (`bnn_compiler.verify` looks at each layer by itself). `correlation` is
    the median over the inputs of Pearson's of the logits.
    """

    network: str
    program: str
    inputs: int
    same_top1: int
    correlation: float


@dataclass(frozen=True)
class Subject:
    """A network, its compiled form, and inputs [count, 1, 3, 224, 224]."""

    network: str
    model: torch.nn.Module
    artifact: bnn_compiler.Artifact
    inputs: torch.Tensor


def birealnet18_peers(model: torch.nn.Module) -> dict[str, openvino_peer.Peer]:
    """The OpenVINO programs that compute Bi-Real-18 `model`."""
    return {"openvino": openvino_peer.birealnet(torch_weights.birealnet18(model), _SHAPE)}


def reactnet_a_peers(model: torch.nn.Module) -> dict[str, openvino_peer.Peer]:
    """The OpenVINO programs that compute ReActNet-A `model`."""
    net = torch_weights.reactnet_a(model)
    return {
        "openvino": openvino_peer.reactnet(net, _SHAPE),
        "openvino folded": openvino_peer.reactnet(fold(net), _SHAPE),
    }


PEERS: dict[str, Callable[[torch.nn.Module], dict[str, openvino_peer.Peer]]] = {
    "birealnet18": birealnet18_peers,
    "reactnet_a": reactnet_a_peers,
}


def random_network(network: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """A zoo network with random weights, and inputs; the same ones in every run."""
    torch.manual_seed(0)
    model = zoo.get(network)()
    inputs = torch.randn((_INPUTS, *_SHAPE), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, inputs[0])
    return model, inputs


def compile_ours(network: str, target: str, folder: Path) -> Subject:
    """Compile one network of the zoo."""
    model, inputs = random_network(network)
    path = folder / f"{network}.bnn"
    artifact = bnn_compiler.compile(model, (inputs[0],), target=target, output=path)
    return Subject(network, model, artifact, inputs)


def compare(
    subject: Subject, *, seconds: float, burst_seconds: float
) -> tuple[list[Row], list[Agreement]]:
    """Time all programs of one network against each other for `seconds`; ours is the first row."""
    peers = PEERS[subject.network](subject.model)
    agreements = _agreements(subject, peers)
    x = subject.inputs[0].numpy()
    programs: dict[str, Program] = {OURS: partial(subject.artifact.run, x)}
    for name, peer in peers.items():
        peer.set_input(x)
        programs[name] = peer.infer
    timings = alternate(programs, seconds=seconds, burst_seconds=burst_seconds)
    return rows(subject.network, timings), agreements


def rows(network: str, timings: Mapping[str, Timing]) -> list[Row]:
    """The table rows of one network; `timings` has one entry named OURS."""
    result = []
    for name, timing in timings.items():
        share = ratio(timings[OURS], timing)
        result.append(
            Row(
                network=network,
                program=name,
                median_ms=1e3 * timing.median,
                minimum_ms=1e3 * timing.minimum,
                runs=timing.runs,
                ratio_of_medians=share.medians,
                ratio_of_minima=share.minima,
                ratio_paired=share.paired,
            )
        )
    return result


def table(all_rows: Sequence[Row], peaks: Mapping[str, float]) -> str:
    """The rows as a Markdown table; ratios under 1 say that bnn_compiler is the faster one."""
    lines = [
        "| network | program | median ms | minimum ms | ours / this: medians | minima | paired |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in all_rows:
        lines.append(
            f"| {row.network} | {row.program} | {row.median_ms:.2f} | {row.minimum_ms:.2f} "
            f"| {row.ratio_of_medians:.2f} | {row.ratio_of_minima:.2f} | {row.ratio_paired:.2f} |"
        )
    for network in dict.fromkeys(row.network for row in all_rows):
        bound = 1e3 * roofline.shortest(peaks, roofline.NETWORKS[network])
        lines.append(f"| {network} | arithmetic at peak rate | | {bound:.2f} | | | |")
    return "\n".join(lines)


def write(name: str, markdown: str, record: Mapping[str, object]) -> Path:
    """Write results/<name>.md and .json; returns the path of the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    path = RESULTS / f"{name}.md"
    path.write_text(markdown + "\n")
    return path


def _agreements(subject: Subject, peers: Mapping[str, openvino_peer.Peer]) -> list[Agreement]:
    with torch.inference_mode():
        expected = [subject.model(x).numpy() for x in subject.inputs]
    programs: dict[str, Callable[[Floats], Floats]] = {OURS: subject.artifact.run}
    programs |= {name: peer.run for name, peer in peers.items()}
    result = []
    for name, run in programs.items():
        pairs = [(run(x.numpy()), y) for x, y in zip(subject.inputs, expected, strict=True)]
        same = sum(got.argmax() == y.argmax() for got, y in pairs)
        correlations = [np.corrcoef(got.ravel(), y.ravel())[0, 1] for got, y in pairs]
        result.append(
            Agreement(subject.network, name, len(pairs), int(same), float(np.median(correlations)))
        )
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare bnn_compiler with OpenVINO.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each network")
    parser.add_argument("--burst", type=float, default=0.2, help="seconds before the next one")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--target", default="native")
    parser.add_argument("--name", default="end_to_end", help="name of the result files")
    return parser


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    networks = arguments.networks or list(PEERS)
    if unknown := set(networks) - set(PEERS):
        parser.error(f"unknown network {', '.join(unknown)}; known: {', '.join(PEERS)}")
    described = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        subjects = [compile_ours(name, arguments.target, Path(folder)) for name in networks]
        core = machine.pin(arguments.core)
        torch.set_num_threads(1)
        peaks = roofline.measure()
        all_rows: list[Row] = []
        agreements: list[Agreement] = []
        with machine.LoadMeter() as meter:
            for subject in subjects:
                found = compare(subject, seconds=arguments.seconds, burst_seconds=arguments.burst)
                all_rows += found[0]
                agreements += found[1]
    where = f"{described.cpu}, core {core} of {os.cpu_count()}, one thread; {meter.load}"
    markdown = f"{table(all_rows, peaks)}\n\n{where}"
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(described),
        "core": core,
        "load": asdict(meter.load),
        "peaks": peaks,
        "options": vars(arguments),
        "rows": [asdict(row) for row in all_rows],
        "agreements": [asdict(agreement) for agreement in agreements],
    }
    path = write(arguments.name, markdown, record)
    print(markdown)
    for each in agreements:
        print(
            f"{each.network} {each.program}: top-1 as torch on {each.same_top1} of {each.inputs} "
            f"random inputs, median correlation of the logits {each.correlation:.4f}"
        )
    print(f"written: {path} and {path.with_suffix('.json')}")


if __name__ == "__main__":
    main()
