import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.frontend.pytorch.quiet import quiet
from tests.network import Function, fused, image

FACTORIES = """
import torch
from torch import nn

class Forward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)

def fault(x):
    raise ValueError("first line\\nsecond line")

def branch(): return Forward(lambda x: x if x.sum() > 0 else x + 1)
def unsupported(): return Forward(torch.special.bessel_j0)
def raises(): return Forward(fault)
def shape(): return nn.Conv2d(4, 8, 3)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("quiet")
    (path / "factories.py").write_text(FACTORIES)
    (path / "text.pt2").write_text("no program")
    torch.export.save(torch.export.export(nn.ReLU(), (image(3),)), path / "whole.pt2")
    (path / "cut.pt2").write_bytes((path / "whole.pt2").read_bytes()[:2000])
    return path


@pytest.mark.parametrize("name", ["branch", "unsupported", "raises", "shape", "text", "cut"])
def test_a_failing_compile_is_one_message(name, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(bnn_compiler.__file__).parents[1]))
    model = f"{name}.pt2" if name in ("text", "cut") else f"factories:{name}"
    command = [sys.executable, "-m", "bnn_compiler", "compile", model, "-o", "n.bnn"]
    done = subprocess.run(
        [*command, "--shape", "1,3,8,8"], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = (done.stderr + done.stdout).splitlines()
    assert done.returncode == 2
    assert lines[-1].startswith("bnnc: ")
    assert all(line.startswith(("import", "passes")) for line in lines[:-1]), lines


def test_filters_handlers_and_streams_are_as_before():
    logger = logging.getLogger("torch.export")
    before = list(warnings.filters), [list(h.filters) for h in logger.handlers], sys.stderr
    with quiet():
        pass
    with pytest.raises(bnn_compiler.errors.ModelError):
        fused(Function(lambda m, x: x if x.sum() > 0 else x + 1), image(3))
    after = list(warnings.filters), [list(h.filters) for h in logger.handlers], sys.stderr
    assert before == after


def test_the_network_still_warns_and_logs(caplog):
    def forward(m, x):
        warnings.warn("mine", UserWarning, stacklevel=1)
        logging.getLogger("mine").warning("logged")
        return x + 1

    with pytest.warns(UserWarning, match="mine"):
        fused(Function(forward), image(3))
    assert "logged" in caplog.text
