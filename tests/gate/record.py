"""Write the digests that the gate compares with: `python -m tests.gate.record [--update]`."""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.gate import adapter, matrix

FILE = Path(__file__).with_name("digests.json")

#: What is kept of a lowered network; "kernels" are digests in the order of the steps.
Entry = dict[str, str | int]


def entry(lowered: adapter.Lowered) -> Entry:
    """A lowered network as it is written down."""
    return {
        "kernels": " ".join(adapter.digest(kernel) for _, kernel in lowered.kernels),
        "weights": hashlib.sha256(lowered.weights).hexdigest(),
        "workspace": lowered.workspace,
    }


def lowerings(case: matrix.Case) -> Iterator[tuple[str, str, adapter.Lowered]]:
    """(variant, target, lowered network) of everything that this run does with ``case``."""
    fused = adapter.traced(*matrix.network(case))
    for variant, targets in matrix.runs(case):
        lowered = fused(matrix.VARIANTS[variant])
        for target in targets:
            yield variant, target, lowered(target)


def main() -> None:
    """Lower everything and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="overwrite the digests")
    parser.add_argument("--output", type=Path, default=FILE, help="another file")
    parser.add_argument("--reverse", action="store_true", help="the last network first")
    options = parser.parse_args()
    if options.output.exists() and not options.update:
        sys.exit(f"{options.output} exists; --update overwrites it")
    if not matrix.FULL:
        sys.exit("set BNN_GATE_FULL=1: a selection of the targets is not what is recorded")
    found: dict[str, dict[str, dict[str, Entry]]] = {}
    for case in reversed(matrix.CASES) if options.reverse else matrix.CASES:
        print(case.name, flush=True)
        variants = found.setdefault(case.name, {})
        for variant, target, lowered in lowerings(case):
            variants.setdefault(variant, {})[target] = entry(lowered)
    partial = options.output.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    partial.replace(options.output)


if __name__ == "__main__":
    main()
