"""``bnnc bench`` and ``bnnc device-server``."""

import json
import statistics
import time

from bnn_compiler.commands.common import Arguments, check_secret, load, random_inputs
from bnn_compiler.errors import InputError


def bench(args: Arguments) -> int:
    """Time an artifact, here or on a board."""
    check_secret(args)
    if args.device:
        from bnn_compiler.device.bench import bench as there

        result = there(
            args.artifact,
            args.device,
            threads=args.threads,
            repeat=args.repeat,
            secret=args.secret,
            batch=args.batch,
        )
    else:
        result = _bench_here(args)
    if args.json:
        print(json.dumps(result))
    else:
        print(f"median {result['median_ms']:.3f} ms, min {result['min_ms']:.3f} ms")
    return 0


def _bench_here(args: Arguments) -> dict[str, float]:
    if args.repeat < 1:
        raise InputError(f"--repeat {args.repeat}; give at least 1")
    artifact = load(args)
    inputs = random_inputs(artifact)
    times = []
    for _ in range(args.repeat + 5):
        start = time.perf_counter()
        artifact.run(*inputs)
        times.append(time.perf_counter() - start)
    times = times[5:]
    return {"median_ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3}


def device_server(args: Arguments) -> int:
    """Build the small server of a board."""
    from bnn_compiler import target
    from bnn_compiler.device import program

    if args.output.is_dir():
        raise InputError(f"--output {args.output} is a folder; name a file")
    program.server(target.load(args.target), args.output)
    size = args.output.stat().st_size
    print(json.dumps({"bytes": size}) if args.json else f"{args.output}: {size / 1e3:.0f} kB")
    return 0
