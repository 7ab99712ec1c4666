"""The GPU of this machine, where there is one."""

import subprocess
import sys

from bnn_compiler.deploy.cuda.trial import SOURCE
from bnn_compiler.device.measure import Here
from bnn_compiler.errors import TargetError
from bnn_compiler.target import Target


def here(target: Target) -> Here:
    """This machine, called as its GPU is. Raises TargetError if it has none that works."""
    command = [sys.executable, str(SOURCE), "--gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = " ".join((done.stdout or done.stderr).split())[-200:]
        raise TargetError(
            f"nothing for {target.name} can be measured here: {why}: carry a kit to such a GPU"
            " (tune --export-candidates, calibrate --export-kit)"
        )
    return Here(done.stdout.strip())
