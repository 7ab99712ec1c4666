"""What compile says of the calibration samples."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from bnn_compiler.quantization import Calibration
from bnn_compiler.quantization.samples import Batch
from bnn_compiler.verification import checking


def test_an_image_that_is_given_again_agrees_once(monkeypatch):
    """Of five images the first is wrong, and it is in both batches."""
    wanted = np.eye(4, 3, dtype=np.float32)
    wrong = np.roll(wanted, 1, axis=1) * np.array([1, 0, 0, 0])[:, None]
    found = np.where(np.arange(4)[:, None] == 0, wrong, wanted)
    again = np.roll(wanted, 1, axis=0), np.roll(found, 1, axis=0)
    outputs = iter([found, (again[1], "another output")])
    artifact = SimpleNamespace(check_runs_here=lambda: None, run=lambda x: next(outputs))
    monkeypatch.setattr(checking, "load", lambda *_, **__: nullcontext(artifact))
    images = np.zeros((4, 1), np.float32)
    batches = Batch((images,), 4, 4), Batch((images,), 4, 1)
    told = []
    checking.tell_agreement(Path(), Calibration((), batches, (wanted, again[0])), told.append)
    assert "the top-1 class of 80.0%" in told[0]
