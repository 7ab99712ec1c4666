"""Networks on a GPU: whether they are exact, how fast they are, and how fast PyTorch is there.

    python -m benchmarks.cuda --compile FOLDER     # here: needs bnn_compiler and nvcc, no GPU
    python -m benchmarks.cuda --run FOLDER         # there: needs Python, numpy, perhaps torch

The second takes at most ten minutes, in order of importance: exactness, the table of goals with
PyTorch's part, concurrent sessions, compute-sanitizer, and, in the last five, the kits of FOLDER,
which measure schedules and whole programs (`bnnc tune --import-results` and `bnnc calibrate
--import-kit` take those in). It writes OUTPUT, benchmarks/results/cuda.json if nothing else is
said, after every case, so that a run that is cut short leaves what it found, and beside it the
results of each kit. A case that fails, faults or never ends leaves its error there, and the others
go on. `--continue` does what an earlier run left out.
"""

import argparse
import json
import platform
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import cuda_goals, cuda_parts
from benchmarks.cuda_device import clocks
from benchmarks.cuda_parts import Folder
from benchmarks.cuda_record import TOO_LATE, Record, supervise

RESULTS = Path(__file__).parent / "results"
#: Seconds for everything but kits, and for all.
LIMIT, KITS = 290.0, 570.0
#: For each part: the second at which none of its cases is begun any more, and what one may take.
LIMITS = {
    "exact": (60.0, 30.0),
    "exact_full": (90.0, 30.0),
    "networks": (120.0, 30.0),
    "layers": (150.0, 20.0),
    "square": (160.0, 20.0),
    "torch_products": (200.0, 30.0),
    "torch_compile": (225.0, 90.0),
    "sessions": (260.0, 30.0),
    "sanitizer": (285.0, 60.0),
    "torch_fp16_graph": (LIMIT, 30.0),
    "torch_int8": (LIMIT, 60.0),
}


def work(path: Path, output: Path) -> None:
    """What ``output`` does not know yet. Raises SystemExit if there is no GPU."""
    folder, record = Folder(path), Record(output)
    found = record.found
    found["target"] = folder.target
    found["not_compiled"] = {n: c["error"] for n, c in folder.cases.items() if "error" in c}
    found["python"] = platform.python_version()
    found.setdefault("gpu", clocks())

    try:
        gpu = folder.gpu
    except (OSError, RuntimeError) as e:
        sys.exit(f"there is no GPU that works: {e}")

    def each(part: str, names: list[str], what: Any) -> None:
        record.each(part, names, what, LIMITS[part], gpu)

    def peers() -> Any:
        from benchmarks import cuda_peers

        return cuda_peers

    networks = [n for n in cuda_goals.RATIOS if n in folder.names("networks")]
    networks += [n for n in folder.names("networks") if n not in networks]
    theirs = list(dict.fromkeys(map(cuda_goals.peer, networks)))
    each("exact", folder.names("exact", "halves"), lambda n: cuda_parts.exact(folder, n))
    each("exact_full", networks, lambda n: cuda_parts.exact(folder, n))
    each("networks", networks, lambda n: cuda_parts.timed(folder, n))
    each("layers", folder.names("layers"), lambda n: cuda_parts.timed(folder, n, 50))
    found["layers_each"] = cuda_parts.layers_each(found.get("layers", {}))
    each("square", folder.names("square"), lambda n: cuda_parts.timed(folder, n, 10))
    each("torch_products", ["all"], lambda _: peers().products(8192))
    each("torch_compile", theirs, lambda n: peers().network(n, True))
    found["goals"] = cuda_goals.table(found)
    each("sessions", networks[:1], lambda n: cuda_parts.sessions(folder, n))
    each(
        "sanitizer",
        [f"{n} {tool}" for n in cuda_parts.SANITIZED if n in folder.names("exact")
         for tool in cuda_parts.TOOLS],
        lambda n: cuda_parts.sanitized(folder, n, LIMIT - record.seconds()),
    )  # fmt: skip
    each("torch_fp16_graph", theirs, lambda n: peers().network(n, False))
    each("torch_int8", theirs, lambda n: peers().network(n, True, int8=True))
    found["seconds_without_kits"] = round(record.seconds(), 1)
    for name in cuda_parts.kits(path):
        results, left = output.with_name(f"{output.stem}-{name}.json"), KITS - record.seconds()
        measure = partial(cuda_parts.kit, path, name, results, left)
        record.case("kits", name, measure, (KITS, left + 10), gpu)
    found["gpu_after"] = clocks()
    found["total_seconds"] = round(record.seconds(), 1)
    record.write()


def run_all(folder: Path, output: Path, again: bool) -> dict[str, Any]:
    """Every part, in ten minutes, in another process where one is lost; ``again``: what is left."""
    if again:
        record = Record(output)
        record.found["begun"] = time.time()
        for part in (*LIMITS, "kits"):
            cases = record.found.get(part, {})
            left = [n for n, c in cases.items() if c.get("error", "").startswith(TOO_LATE)]
            for name in left:
                del cases[name]
        record.write()
    else:
        output.unlink(missing_ok=True)
    # As this process was started.
    return supervise([sys.executable, *sys.orig_argv[1:], "--child"], output)


def main(argv: list[str] | None = None) -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--compile", type=Path, metavar="FOLDER")
    action.add_argument("--run", type=Path, metavar="FOLDER")
    action.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", default="cuda-sm90")
    parser.add_argument("--trials", type=int, default=4, help="of each kernel in a kit; 0: no kits")
    parser.add_argument(
        "--programs", type=int, default=16, help="of the latency model's kit; 0: none"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "cuda.json", help="of --run")
    parser.add_argument("--continue", dest="again", action="store_true", help="what --run left out")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.compile:
        from benchmarks import cuda_networks

        cuda_networks.compile_all(args.compile, args.target, args.trials, args.programs, print)
    elif args.once:
        cuda_parts.once(args.once)
    elif args.child:
        work(args.run, args.output)
    else:
        found = run_all(args.run, args.output, args.again)
        shown = ("exact", "exact_full", "goals", "ended", "total_seconds")
        print(json.dumps({k: found.get(k) for k in shown}, indent=1))
        if "exact" not in found:
            sys.exit("nothing was run: see the error above")


if __name__ == "__main__":
    main()
