"""Networks on a GPU: whether they are exact, how fast they are, and how fast PyTorch is there.

    python -m benchmarks.cuda --compile FOLDER     # here: needs bnn_compiler and nvcc, no GPU
    python -m benchmarks.cuda --run FOLDER         # there: needs Python, numpy, perhaps torch

The second takes at most ten minutes, the last five for the kits of FOLDER, which measure schedules
(`bnnc tune --import-results` takes those in). It writes OUTPUT, benchmarks/results/cuda.json if
nothing else is said, and beside it the results of each kit. Each part that fails leaves its error
there, and the others go on.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuda_device import Array, Gpu, clocks, described, images
from bnn_compiler import runtime

RESULTS = Path(__file__).parent / "results"
#: Seconds for everything but kits, for all, and those at which a part is no longer begun.
LIMIT, KITS = 290.0, 570.0
_ENDS = {"exact": 60, "sanitizer": 110, "sessions": 130, "networks": 160, "layers": 190}


class Run:
    """One run of the benchmark; ``found`` is the JSON as far as it is known."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder, self.output, self.begin = folder, output, time.monotonic()
        listed = json.loads((folder / "cases.json").read_text())
        self.target = listed["target"]
        self.cases: dict[str, dict[str, Any]] = listed["cases"]
        self.found: dict[str, Any] = {
            "target": self.target,
            "not_compiled": {n: c["error"] for n, c in self.cases.items() if "error" in c},
            "python": platform.python_version(),
            "gpu": clocks(),
        }
        self._gpu: Gpu | None = None

    @property
    def gpu(self) -> Gpu:
        """The GPU. Raises OSError or RuntimeError if there is none."""
        if self._gpu is None:
            self._gpu = Gpu()
        return self._gpu

    def names(self, part: str) -> list[str]:
        """The compiled cases of a part."""
        return [n for n, c in self.cases.items() if c["part"] == part and "error" not in c]

    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.begin

    def part(self, name: str, work: Callable[[], Any], limit: float = LIMIT) -> None:
        """Do a part, if there is time for it; its error is its result."""
        if self.seconds() > limit:
            self.found[name] = {"error": "no time was left"}
            return
        start = self.seconds()
        try:
            self.found[name] = work()
        except Exception as e:
            self.found[name] = {"error": f"{type(e).__name__}: {e}"[:800]}
        self.found.setdefault("seconds", {})[name] = round(self.seconds() - start, 1)
        self.write()

    def write(self) -> None:
        """Whoever lends the machine may take it away."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(json.dumps(self.found, indent=1) + "\n")

    def each(self, part: str, work: Callable[[str], Any]) -> dict[str, Any]:
        """``work`` on every case of a part, until its time is over."""
        found: dict[str, Any] = {}
        for name in self.names(part):
            if self.seconds() > _ENDS.get(part, LIMIT):
                found[name] = {"error": "no time was left"}
                continue
            try:
                found[name] = work(name)
            except Exception as e:
                found[name] = {"error": f"{type(e).__name__}: {e}"[:800]}
        return found

    def load(self, name: str) -> runtime.Artifact:
        """The artifact of a case."""
        return runtime.load(self.folder / f"{name}.bnn")


def exact(run: Run, name: str) -> dict[str, Any]:
    """A case's results against the CPU's: by launches, by a graph, from the host and the GPU."""
    wanted = np.load(run.folder / f"{name}.npy")
    with run.load(name) as net:
        x = images(name, net.description.inputs[0].shape)
        found = [net.run(x) for _ in range(3)]
        array = Array(run.gpu, x)
        found += [net.run(array).numpy() for _ in range(3)]
        array.free()
    differing = [int(np.count_nonzero(f.view(np.uint32) != wanted.view(np.uint32))) for f in found]
    return {"elements": int(wanted.size), "differing": differing, "exact": not any(differing)}


def sanitized(run: Run) -> dict[str, Any]:
    """compute-sanitizer on two small networks."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(program).is_file():
        return {"error": "there is no compute-sanitizer"}
    found: dict[str, Any] = {}
    for name in ("xnornet_small", "birealnet18_small"):
        for tool in ("memcheck", "racecheck"):
            left = _ENDS["sanitizer"] - run.seconds()
            if name not in run.names("exact") or left < 5:
                continue
            command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable]
            command += ["-m", "benchmarks.cuda", "--once", str(run.folder / f"{name}.bnn")]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=left
                )
                last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1:]
                found[f"{name}_{tool}"] = {"clean": done.returncode == 0, "says": last}
            except subprocess.TimeoutExpired:
                found[f"{name}_{tool}"] = {"error": "no time was left"}
    return found


def sessions(
    run: Run, name: str = "birealnet18_1", count: int = 4, runs: int = 50
) -> dict[str, Any]:
    """Sessions in streams and threads of their own: exact, and what they take together."""
    wanted = np.load(run.folder / f"{name}.npy")
    with run.load(name) as net:
        x = images(name, net.description.inputs[0].shape)
        xs = [Array(run.gpu, x) for _ in range(count)]
        ys = [Array(run.gpu, np.zeros_like(wanted)) for _ in range(count)]
        made = [net.session(run.gpu.stream()) for _ in range(count)]

        def work(session: Any, x: Array, y: Array) -> None:
            for _ in range(runs):
                session.run(x, out=y)
            session.wait()

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
            return (time.perf_counter() - start) / runs * 1e3

        together(count)
        found = {"sessions": count, "one_ms": together(1), "all_ms": together(count)}
        same = [y.numpy().tobytes() == wanted.tobytes() for y in ys]
        for session in made:
            session.close()
        for array in (*xs, *ys):
            array.free()
    return {**found, "exact": all(same)}


def timed(run: Run, name: str, count: int = 100) -> dict[str, Any]:
    """Times of whole runs on arrays of the GPU, and of the slowest steps."""
    with run.load(name) as net:
        stream = run.gpu.stream()
        tensors = net.description.inputs, net.description.outputs
        x = images(name, tensors[0][0].shape)
        array, out = Array(run.gpu, x), Array(run.gpu, np.zeros(tensors[1][0].shape, np.float32))
        with net.session(stream) as session:
            times = run.gpu.milliseconds(stream, lambda: session.run(array, out=out), count)
        array.free()
        out.free()
        steps = sorted(net.profile(x, repeat=3), key=lambda s: -s.seconds)[:8]
        slowest = [{"name": s.name, "op": s.op, "us": round(1e6 * s.seconds, 2)} for s in steps]
        return {**described(times), "steps": len(net.description.steps), "slowest": slowest}


def layers(run: Run) -> dict[str, Any]:
    """Chains of equal layers, and a layer: the difference of two chains over that of lengths."""
    found = run.each("layers", lambda name: timed(run, name, 50))
    shapes = {tuple(n.split("_")[:2]) for n in found}
    for layer, batch in sorted(shapes):
        lengths = sorted(int(n.split("_")[2]) for n in found if n.startswith(f"{layer}_{batch}_"))
        times = [found[f"{layer}_{batch}_{n}"].get("median_ms") for n in lengths]
        if len(times) == 2 and None not in times:
            each = 1e3 * (times[1] - times[0]) / (lengths[1] - lengths[0])
            found[f"{layer}_{batch}"] = {"us_a_layer": each}
    return found


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """Our medians over PyTorch's, where both are known."""
    ours = found.get("networks", {})
    result = {}
    for peer in ("torch_fp16_graph", "torch_compile"):
        for name, times in found.get(peer, {}).items():
            mine = ours.get(name, {}) if isinstance(times, dict) else {}
            if "median_ms" in mine and "median_ms" in times:
                result[f"{name} / {peer}"] = mine["median_ms"] / times["median_ms"]
    return result


def kits(run: Run, output: Path) -> dict[str, Any]:
    """Schedules measured by every kit of the folder; a kit's results lie beside ``output``."""
    found: dict[str, Any] = {}
    for archive in sorted(run.folder.glob("*.kit.tar.gz")):
        name = archive.name.split(".")[0]
        left, results = KITS - run.seconds(), output.with_name(f"{output.stem}-{name}.json")
        with tempfile.TemporaryDirectory() as inside, tarfile.open(archive) as tar:
            tar.extractall(inside, filter="data")
            (script,) = Path(inside).glob("bnn-kit-*/run.sh")
            command = ["sh", str(script), str(results.resolve())]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=max(1.0, left)
                )
                says = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                found[name] = {"measured": results.is_file(), "says": says}
            except subprocess.TimeoutExpired:
                found[name] = {"error": f"no time was left; {results}.partial can be gone on with"}
    return found


def run_all(folder: Path, output: Path) -> dict[str, Any]:
    """Every part, in ten minutes; what is known is in ``output`` after each."""
    run = Run(folder, output)
    run.part("exact", lambda: run.each("exact", lambda n: exact(run, n)))
    run.part("exact_full", lambda: run.each("networks", lambda n: exact(run, n)))
    run.part("sanitizer", lambda: sanitized(run))
    run.part("sessions", lambda: sessions(run))
    run.part("networks", lambda: run.each("networks", lambda n: timed(run, n)))
    run.part("layers", lambda: layers(run))
    run.part("square", lambda: run.each("square", lambda n: timed(run, n, 10)))

    def peers() -> Any:
        from benchmarks import cuda_peers

        return cuda_peers

    end = run.begin + LIMIT
    batches = (1, 8, 64)
    run.part("torch_products", lambda: peers().products(8192))
    run.part("torch_fp16_graph", lambda: peers().networks(end, batches, False))
    run.part("torch_compile", lambda: peers().networks(end, batches, True))
    run.found["ratios"] = ratios(run.found)
    run.part("kits", lambda: kits(run, output), KITS)
    run.found["gpu_after"] = clocks()
    run.found["total_seconds"] = round(run.seconds(), 1)
    run.write()
    return run.found


def once(path: Path) -> None:
    """Two runs, for compute-sanitizer."""
    with runtime.load(path) as net:
        x = np.zeros(net.description.inputs[0].shape, np.float32)
        first, second = net.run(x), net.run(x)
    if statistics.fmean(first.ravel() == second.ravel()) != 1.0:
        raise SystemExit("two runs differ")


def main(argv: list[str] | None = None) -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--compile", type=Path, metavar="FOLDER")
    action.add_argument("--run", type=Path, metavar="FOLDER")
    action.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", default="cuda-sm90")
    parser.add_argument("--trials", type=int, default=6, help="of each kernel in a kit; 0: no kits")
    parser.add_argument("--output", type=Path, default=RESULTS / "cuda.json", help="of --run")
    args = parser.parse_args(argv)
    if args.compile:
        from benchmarks import cuda_networks

        cuda_networks.compile_all(args.compile, args.target, args.trials, print)
    elif args.run:
        found = run_all(args.run, args.output)
        print(json.dumps({k: found[k] for k in ("exact", "ratios", "total_seconds")}, indent=1))
    else:
        once(args.once)


if __name__ == "__main__":
    main()
