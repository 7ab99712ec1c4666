"""Programs to measure: real ones, and shell scripts that misbehave."""

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.tune import harness
from tests.kernels import kernel

TASK = kernel.task(32, 6, 32)
GOOD = """echo '{"name": "x", "seconds": [0.5], "digest": "0"}'"""


def built(name, folder, number=0):
    """A kernel of a target as a program."""
    device = targets.load(name)
    point = families.space(TASK, device.hardware)[number]
    stem = folder / f"{name}{number}"
    return harness.build(families.function(TASK, point), TASK, point, device, stem, static=True)


def script(folder, name, text):
    """A shell script in the place of a program."""
    path = folder / f"{name}.run"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    found = TrialProgram(path)
    found.constants.write_bytes(b"\0" * 100)
    return found
