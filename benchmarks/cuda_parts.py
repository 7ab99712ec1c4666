"""What is done with the artifacts of a folder on a GPU: each gives what belongs into the JSON."""

import json
import shutil
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuda_device import Array, Gpu, described, images
from benchmarks.cuda_record import TOO_LATE, limited
from bnn_compiler import runtime
from bnn_compiler.runtime.manifest import FORMAT

#: Small networks for compute-sanitizer, which slows them down by a factor of a hundred.
SANITIZED, TOOLS = ("xnornet_small", "birealnet18_small"), ("memcheck", "racecheck")
#: All kits of a folder, and the one of whole programs in it.
KITS, CALIBRATION = "kits.tar.xz", "calibration"
#: Norm of what half precision may change, where no sign is behind it, over the norm of all.
HALF = 2.0**-9


class Folder:
    """The compiled cases of a folder, with what the CPU gave for them.

    Raises SystemExit, before time of a GPU goes by, for one of another version of this package.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        listed = json.loads((path / "cases.json").read_text())
        if listed.get("format") != FORMAT:
            raise SystemExit(
                f"{path}: its networks have format {listed.get('format')}, this version reads"
                f" {FORMAT}; compile the folder again: python -m benchmarks.cuda --compile {path}"
            )
        self.target: str = listed["target"]
        self.cases: dict[str, dict[str, Any]] = listed["cases"]
        self._gpu: Gpu | None = None

    @property
    def gpu(self) -> Gpu:
        """The GPU. Raises OSError or RuntimeError if there is none."""
        if self._gpu is None:
            self._gpu = Gpu()
        return self._gpu

    def names(self, *parts: str) -> list[str]:
        """The compiled cases of some parts."""
        return [n for n, c in self.cases.items() if c["part"] in parts and "error" not in c]

    def load(self, name: str) -> runtime.Artifact:
        """The artifact of a case."""
        return runtime.load(self.path / f"{name}.bnn")

    def wanted(self, name: str) -> Any:
        """What the CPU gave for a case's images."""
        return np.load(self.path / f"{name}.npy")


def _runs(folder: Folder, name: str) -> list[Any]:
    """Results by launches and by a graph, from arrays of the host and of the GPU."""
    with folder.load(name) as net:
        x = images(name, net.description.inputs[0].shape)
        found = [net.run(x) for _ in range(3)]
        array = Array(folder.gpu, x)
        found += [net.run(array).numpy() for _ in range(3)]
        array.free()
    return found


def exact(folder: Folder, name: str) -> dict[str, Any]:
    """A case's results against the CPU's, bit by bit; halves are held to a bound instead."""
    wanted, found = folder.wanted(name), _runs(folder, name)
    case = folder.cases[name]
    if not case.get("allow_reorder"):
        bits = [f.view(np.uint32) != wanted.view(np.uint32) for f in found]
        differing = [int(np.count_nonzero(b)) for b in bits]
        return {"elements": int(wanted.size), "differing": differing, "exact": not any(differing)}
    same = all(f.tobytes() == found[0].tobytes() for f in found)
    far = float(np.linalg.norm(found[0] - wanted) / np.linalg.norm(wanted))
    result = {
        "runs_equal": same,
        "norm_of_difference": far,
        "correlation": float(np.corrcoef(found[0].ravel(), wanted.ravel())[0, 1]),
        "same_class": float(np.mean(found[0].argmax(-1) == wanted.argmax(-1))),
    }
    # Behind signs a rounding may turn one around, which says nothing of the kernels.
    return {**result, "exact": same and far <= HALF} if case["part"] == "halves" else result


def sanitized(folder: Folder, named: str, seconds: float) -> dict[str, Any]:
    """compute-sanitizer on two runs of a case: ``named`` is "case tool"."""
    name, tool = named.split()
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(program).is_file():
        return {"error": "there is no compute-sanitizer"}
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable]
    command += ["-m", "benchmarks.cuda", "--once", str(folder.path / f"{name}.bnn")]
    done = limited(command, seconds)
    if done is None:
        return {"error": TOO_LATE}
    last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1:]
    return {"clean": done.returncode == 0, "says": last}


def once(path: Path) -> None:
    """Two runs, for compute-sanitizer. Raises SystemExit if they differ."""
    with runtime.load(path) as net:
        x = images(path.stem, net.description.inputs[0].shape)
        first, second = net.run(x), net.run(x)
    if first.tobytes() != second.tobytes():
        raise SystemExit("two runs differ")


def sessions(folder: Folder, name: str, count: int = 4, runs: int = 50) -> dict[str, Any]:
    """Sessions in streams and threads of their own: exact, and what they take together."""
    wanted = folder.wanted(name)
    with folder.load(name) as net:
        x = images(name, net.description.inputs[0].shape)
        xs = [Array(folder.gpu, x) for _ in range(count)]
        ys = [Array(folder.gpu, np.zeros_like(wanted)) for _ in range(count)]
        made = [net.session(folder.gpu.stream()) for _ in range(count)]
        failed: list[BaseException] = []

        def work(session: Any, x: Array, y: Array) -> None:
            try:
                for _ in range(runs):
                    session.run(x, out=y)
                session.wait()
            except Exception as e:
                failed.append(e)

        def together(some: int) -> float:
            threads = [
                threading.Thread(target=work, args=row)
                for row in list(zip(made, xs, ys, strict=True))[:some]
            ]
            start = time.perf_counter()
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            if failed:
                raise failed[0]
            return (time.perf_counter() - start) / runs * 1e3

        together(count)
        found = {"sessions": count, "one_ms": together(1), "all_ms": together(count)}
        same = [y.numpy().tobytes() == wanted.tobytes() for y in ys]
        for session in made:
            session.close()
        for array in (*xs, *ys):
            array.free()
    return {**found, "exact": all(same)}


def timed(folder: Folder, name: str, count: int = 100) -> dict[str, Any]:
    """Times of whole runs on arrays of the GPU, and of the slowest steps."""
    with folder.load(name) as net:
        stream = folder.gpu.stream()
        tensors = net.description.inputs, net.description.outputs
        x = images(name, tensors[0][0].shape)
        array = Array(folder.gpu, x)
        out = Array(folder.gpu, np.zeros(tensors[1][0].shape, np.float32))
        with net.session(stream) as session:
            times = folder.gpu.milliseconds(stream, lambda: session.run(array, out=out), count)
        array.free()
        out.free()
        steps = net.profile(x, repeat=3)
        slow = sorted(steps, key=lambda s: -s.seconds)[:8]
        slowest = [{"name": s.name, "op": s.op, "us": round(1e6 * s.seconds, 2)} for s in slow]
        traffic = sum(s.bytes for s in steps)
        return {**described(times), "steps": len(steps), "bytes": traffic, "slowest": slowest}


def layers_each(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """A layer, from what chains of equal ones took: the difference of two over that of lengths."""
    each: dict[str, dict[str, float]] = {}
    for one in sorted({n.rpartition("_")[0] for n in found}):
        lengths = sorted(int(n.rpartition("_")[2]) for n in found if n.rpartition("_")[0] == one)
        chains = [found[f"{one}_{n}"] for n in lengths]
        if len(chains) == 2 and all("median_ms" in c for c in chains):
            more = lengths[1] - lengths[0]
            us = 1e3 * (chains[1]["median_ms"] - chains[0]["median_ms"]) / more
            traffic = (chains[1]["bytes"] - chains[0]["bytes"]) / more
            each[one] = {"us": us, "bytes": traffic}
            if us > 0:
                each[one]["gb_s"] = traffic / us / 1e3
    return each


def kits(folder: Path) -> list[str]:
    """The kits in a folder's archive, that of whole programs first: nothing else tells of any."""
    if not (folder / KITS).is_file():
        return []
    with tarfile.open(folder / KITS) as tar:
        names = {m.name.split("/")[0] for m in tar.getmembers()}
    return sorted(names, key=lambda n: (n != CALIBRATION, n))


def kit(folder: Path, name: str, results: Path, seconds: float) -> dict[str, Any]:
    """What a kit of schedules or programs measures, which goes to ``results``."""
    with tempfile.TemporaryDirectory() as inside, tarfile.open(folder / KITS) as tar:
        members = [m for m in tar.getmembers() if m.name.startswith(f"{name}/")]
        tar.extractall(inside, members, filter="data")
        (script,) = Path(inside).glob(f"{name}/bnn-kit-*/run.sh")
        command = ["sh", str(script), str(results.resolve())]
        done = limited(command, seconds)
        if done is None:
            return {"error": f"{TOO_LATE}; {results}.partial can be gone on with"}
    says = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
    if not results.is_file():
        return {"measured": 0, "says": says}
    codes = [line["code"] for line in json.loads(results.read_text())["lines"] if "code" in line]
    return {"measured": codes.count(0), "failed": len(codes) - codes.count(0), "says": says}
