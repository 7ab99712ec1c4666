"""The benchmark of GPUs from its beginning to its end, on the stub of the driver."""

import json
import os
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch

from benchmarks import cuda, cuda_networks
from bnn_compiler import zoo
from tests import edge
from tests.deploy.cuda import stub

CASES = {
    "xnornet_small": "exact",
    "birealnet18_1": "networks",
    "layer16_1_2": "layers",
    "layer16_1_8": "layers",
    "square8": "square",
}
#: PyTorch's part needs PyTorch's own GPU.
RUN = """
import sys
sys.modules["torch"] = None
import numpy as np
from benchmarks import cuda
cuda.images = lambda name, shape: np.load(sys.argv[1])
cuda.main(sys.argv[2:])
"""


def test_every_part_runs(tmp_path):
    torch.manual_seed(0)
    model, x = edge.binary_net(16), torch.randn(1, 3, 5, 5)
    zoo.randomize(model, x)
    built = stub.build(tmp_path / "built", model, (x,))
    folder, output = tmp_path / "cases", tmp_path / "results" / "found.json"
    folder.mkdir()
    known = np.load(built.folder / "known.npz")
    np.save(tmp_path / "x.npy", known["in0"])
    for name in CASES:
        shutil.copy(built.artifact, folder / f"{name}.bnn")
        np.save(folder / f"{name}.npy", known["out0"])
    cases = {name: {"part": part} for name, part in CASES.items()}
    listed = {"target": "cuda-sm90", "cases": {**cases, "lost": {"part": "exact", "error": "why"}}}
    (folder / "cases.json").write_text(json.dumps(listed))
    (tmp_path / "run.sh").write_text('echo measured >"$1"; echo done\n')
    with tarfile.open(folder / "birealnet18_1.kit.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "run.sh", "bnn-kit-0/run.sh")
    driver = stub.driver(tmp_path / "driver")
    environment = {
        "LD_LIBRARY_PATH": str(driver),
        "PYTHONPATH": f"{stub.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "STUB_KERNELS": str(built.folder / "kernels.so"),
        "STUB_LAUNCHES": str(built.folder / "launches.txt"),
    }
    command = [sys.executable, "-c", RUN, str(tmp_path / "x.npy")]
    command += ["--run", str(folder), "--output", str(output)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert found["not_compiled"] == {"lost": "why"}
    assert found["exact"]["xnornet_small"]["exact"], found["exact"]
    assert found["exact_full"]["birealnet18_1"]["differing"] == [0] * 6, found["exact_full"]
    assert found["sessions"]["exact"], found["sessions"]
    network = found["networks"]["birealnet18_1"]
    assert network["median_ms"] == network["steps"] * stub.MILLISECONDS, found["networks"]
    assert found["layers"]["layer16_1"] == {"us_a_layer": 0.0}
    assert found["square"]["square8"]["median_ms"] == network["median_ms"]
    assert "torch" in found["torch_products"]["error"]
    assert found["kits"]["birealnet18_1"] == {"measured": True, "says": ["done"]}
    assert (output.parent / "found-birealnet18_1.json").read_text() == "measured\n"


def test_its_cases_are_networks(capsys):
    with pytest.raises(SystemExit, match="0"):
        cuda.main(["--help"])
    assert "--run FOLDER" in capsys.readouterr().out
    cases = {c.name: c for c in cuda_networks.cases()}
    assert set(cuda_networks.TUNED) <= set(cases)
    assert {c.part for c in cases.values()} == {*CASES.values()}
    model, x = cases["layer64_1_2"].make()
    assert model(x).shape == x.shape
