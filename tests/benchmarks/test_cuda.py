"""The benchmark of GPUs from its beginning to its end, on the stub of the driver."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import torch

from benchmarks import cuda, cuda_goals, cuda_networks, cuda_parts, cuda_record
from bnn_compiler import zoo
from bnn_compiler.runtime.manifest import FORMAT
from tests import edge
from tests.deploy.cuda import stub

CASES = {
    "xnornet_small": "exact",
    "halves": "halves",
    "faults": "exact",
    "hangs": "exact",
    "birealnet18_1": "networks",
    "birealnet18_64_reorder": "networks",
    "layer16_1_2": "layers",
    "layer16_1_8": "layers",
    "square8": "square",
}
#: PyTorch's part needs PyTorch's own GPU. A kernel that faults makes every later call fail.
RUN = """
import sys, time
sys.modules["torch"] = None
import numpy as np
from benchmarks import cuda, cuda_device, cuda_parts
cuda.LIMITS["exact"] = (60.0, 3.0)
real, lost = cuda_parts.exact, []
def exact(folder, name):
    if name == "hangs":
        time.sleep(600)
    if name == "faults":
        lost.append(name)
        cuda_device.Gpu.wait(None)
    return real(folder, name)
def wait(gpu):
    if lost:
        raise RuntimeError("cuCtxSynchronize returned 700")
    gpu.call("cuCtxSynchronize")
cuda_parts.exact, cuda_device.Gpu.wait = exact, wait
cuda_parts.images = lambda name, shape: np.load(sys.argv[1])
cuda.main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of cases, with the images' file, and what stands for the GPU."""
    at = tmp_path_factory.mktemp("cuda")
    torch.manual_seed(0)
    model, x = edge.binary_net(16), torch.randn(1, 3, 5, 5)
    zoo.randomize(model, x)
    built = stub.build(at / "built", model, (x,))
    folder = at / "cases"
    folder.mkdir()
    known = np.load(built.folder / "known.npz")
    np.save(at / "x.npy", known["in0"])
    for name in CASES:
        shutil.copy(built.artifact, folder / f"{name}.bnn")
        np.save(folder / f"{name}.npy", known["out0"])
    halves = ("halves", "birealnet18_64_reorder")
    cases = {n: {"part": p, "allow_reorder": n in halves} for n, p in CASES.items()}
    # A thousandth is far less than a sign that turns around, more than rounding.
    np.save(folder / "halves.npy", known["out0"] * np.float32(1.001))
    listed = {"format": FORMAT, "target": "cuda-sm90"}
    listed |= {"cases": {**cases, "lost": {"part": "exact", "error": "why"}}}
    (folder / "cases.json").write_text(json.dumps(listed))
    lines = json.dumps({"lines": [{"kit": "k"}, {"code": 0}, {"code": 1}, {"code": 0}]})
    (at / "run.sh").write_text(f"echo '{lines}' >\"$1\"; echo done\n")
    with tarfile.open(folder / cuda_parts.KITS, "w:xz") as tar:
        for name in ("birealnet18_1", cuda_parts.CALIBRATION):
            tar.add(at / "run.sh", f"{name}/bnn-kit-0/run.sh")
    driver = stub.driver(at / "driver")
    environment = {
        "LD_LIBRARY_PATH": str(driver),
        "PYTHONPATH": f"{stub.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "STUB_KERNELS": str(built.folder / "kernels.so"),
        "STUB_LAUNCHES": str(built.folder / "launches.txt"),
    }
    return at, {**os.environ, **environment}


def run(made, *more):
    """Run the folder; the JSON."""
    at, environment = made
    output = at / "results" / "found.json"
    command = [sys.executable, "-c", RUN, str(at / "x.npy")]
    command += ["--run", str(at / "cases"), "--output", str(output), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


def test_every_part_runs(made):
    found = run(made)
    assert found["not_compiled"] == {"lost": "why"}
    assert found["exact"]["xnornet_small"]["exact"], found["exact"]
    halves = found["exact"]["halves"]
    assert halves["exact"] and halves["norm_of_difference"] == pytest.approx(0.001, rel=0.01)
    # A fault, and what does not end, take their process with them, and nothing else.
    assert "cuCtxSynchronize returned 700" in found["exact"]["faults"]["error"]
    assert found["exact"]["hangs"] == {"error": "exact hangs did not end"}
    assert found["ended"] == ["the GPU was lost: a kernel faulted", "exact hangs did not end"]
    assert found["exact_full"]["birealnet18_1"]["differing"] == [0] * 6, found["exact_full"]
    reordered = found["exact_full"]["birealnet18_64_reorder"]
    assert reordered["runs_equal"] and reordered["norm_of_difference"] == 0
    assert found["sessions"]["birealnet18_1"]["exact"], found["sessions"]
    network = found["networks"]["birealnet18_1"]
    assert network["median_ms"] == network["steps"] * stub.MILLISECONDS, found["networks"]
    assert found["layers_each"]["layer16_1"] == {"us": 0.0, "bytes": 0.0}
    assert found["square"]["square8"]["median_ms"] == network["median_ms"]
    assert found["goals"]["layer16_1 us"] == {"found": 0.0, "goal": 3.0, "met": True}
    assert found["goals"]["int8 / square8"]["met"] is None
    assert "torch" in found["torch_products"]["all"]["error"]
    for part in ("torch_compile", "torch_int8", "torch_fp16_graph"):
        assert found[part].keys() == {"birealnet18_1", "birealnet18_64"}
    assert list(found["kits"]) == [cuda_parts.CALIBRATION, "birealnet18_1"]
    assert found["kits"]["birealnet18_1"] == {"measured": 2, "failed": 1, "says": ["done"]}
    assert (made[0] / "results" / "found-birealnet18_1.json").is_file()
    assert "doing" not in found

    # What an earlier run had no time for is done by the next; the rest is as it was.
    output = made[0] / "results" / "found.json"
    late = {"error": f"{cuda_record.TOO_LATE}; more"}
    earlier = {**found, "kits": {cuda_parts.CALIBRATION: late}, "sessions": {"birealnet18_1": late}}
    output.write_text(json.dumps(earlier))
    again = run(made, "--continue")
    assert again["kits"] == {n: found["kits"]["birealnet18_1"] for n in found["kits"]}
    assert again["sessions"]["birealnet18_1"]["exact"]
    same = ("exact", "exact_full", "networks", "layers", "square", "torch_compile")
    assert {n: again[n] for n in same} == {n: found[n] for n in same}


def test_a_machine_without_a_gpu_says_so(made, tmp_path):
    at, environment = made
    (tmp_path / "libcuda.so.1").write_text("")
    command = [sys.executable, "-m", "benchmarks.cuda", "--run", str(at / "cases")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "found.json")],
        env={**environment, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "there is no GPU that works: " in done.stderr
    assert "nothing was run" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_of_another_version_is_refused(tmp_path):
    (tmp_path / "cases.json").write_text('{"format": 5, "target": "cuda-sm90", "cases": {}}')
    with pytest.raises(SystemExit, match=f"have format 5, this version reads {FORMAT}; compile"):
        cuda_parts.Folder(tmp_path)


def test_a_command_that_takes_too_long_leaves_nothing():
    start = time.monotonic()
    # What it starts has its pipes, and would outlive it.
    assert cuda_record.limited(["sh", "-c", "sleep 61.5 & sleep 61.5"], 0.0) is None
    assert time.monotonic() - start < 30
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 61.5" not in left
    done = cuda_record.limited(["sh", "-c", "echo out; echo err >&2; exit 3"], 60.0)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_goals():
    found = {
        "networks": {"birealnet18_64": {"median_ms": 0.6}, "birealnet18_64_reorder": {"error": ""}},
        "torch_compile": {"birealnet18_64": {"median_ms": 1.0}},
        "layers_each": {"layer64_1": {"us": 3.1}, "layer64_64": {"us": 20.0, "gb_s": 2700.0}},
        "torch_products": {"all": {"int8": {"median_ms": 1.2}, "copy_gb_s": 3000.0}},
        "square": {"square8192": {"median_ms": 0.19}},
    }
    table = cuda_goals.table(found)
    assert table["birealnet18_64 / torch_compile"] == {"found": 0.6, "goal": 0.62, "met": True}
    assert table["birealnet18_64_reorder / torch_compile"]["met"] is None
    assert not table["layer64_1 us"]["met"] and table["layer64_64 / copy"]["met"]
    assert table["int8 / square8192"]["met"]


def test_its_cases_are_networks(capsys):
    with pytest.raises(SystemExit, match="0"):
        cuda.main(["--help"])
    assert "--run FOLDER" in capsys.readouterr().out
    cases = {c.name: c for c in cuda_networks.cases()}
    assert set(cuda_networks.TUNED) <= set(cases) and set(cuda_goals.RATIOS) <= set(cases)
    assert {c.part for c in cases.values()} == {*CASES.values()}
    assert {n for n, c in cases.items() if c.allow_reorder} == {
        "halves",
        *(n for n in cuda_goals.RATIOS if n.endswith("_reorder")),
    }
    model, x = cases["layer64_1_2"].make()
    assert model(x).shape == x.shape
    # The same weights again and again, for what is timed only.
    assert torch.equal(model.layers[0][1].weight[:16], model.layers[0][1].weight[16:32])
    model, x = cases["halves"].make()
    assert model(x).shape == (2, 40)
