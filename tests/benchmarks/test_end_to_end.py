"""A comparison from end to end, of programs that take no time."""

from pathlib import Path

import pytest
import torch
from torch import nn

import bnn_compiler
from benchmarks.end_to_end import Subject, compare
from benchmarks.peer_weights import Floats
from benchmarks.peers import Peers
from bnn_compiler import zoo
from bnn_compiler.zoo.bireal import Block


class Torch:
    """A model as a peer."""

    def __init__(self, model: nn.Module, sign: int) -> None:
        self.model, self.sign = model, sign

    def set_input(self, x: Floats) -> None:
        self.x = torch.from_numpy(x)

    @torch.inference_mode()
    def infer(self) -> torch.Tensor:
        return self.sign * self.model(self.x)

    def run(self, x: Floats) -> Floats:
        self.set_input(x)
        return self.infer().numpy()


def test_programs_are_timed_and_checked_against_their_own_model(tmp_path: Path) -> None:
    model = Block(32, 32, 1, False)
    inputs = torch.randn((2, 1, 32, 4, 4), generator=torch.Generator().manual_seed(1))
    zoo.randomize(model, inputs[0])
    artifact = bnn_compiler.compile(model, (inputs[0],), output=tmp_path / "net.bnn")
    subject = Subject("block", model, artifact, inputs)
    other = nn.Linear(4, 10).eval()
    rivals = [
        Peers(model, {"right": Torch(model, 1), "wrong": Torch(model, -1)}),
        Peers(other, {"other": Torch(other, 1)}),
    ]
    rows, agreements = compare(subject, rivals, seconds=0.0, burst_seconds=0.0)
    assert [row.program for row in rows] == ["bnn_compiler", "right", "wrong", "other"]
    correlations = [agreement.correlation for agreement in agreements]
    assert correlations == pytest.approx([1.0, 1.0, -1.0, 1.0])
    assert agreements[1].same_top1 == 2
