"""Larq Compute Engine: TensorFlow Lite with binary convolutions, in an environment of its own.

It needs TensorFlow 2.16 and an older numpy, so a virtual environment is made for it once, in the
user's cache folder, and its programs are processes that are told over a pipe what to run. One
round trip is some 10 us, a network takes tens of milliseconds.

On x86 its kernels are portable C++: `larq` is the default (im2col and a binary matrix product),
`larq indirect` the one without im2col. Float layers run on XNNPACK.
"""

import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import platformdirs

from benchmarks.larq_program import INFER, INPUT, OUTPUT, READY
from benchmarks.peer_weights import BiRealNet, Floats, QuickNet
from bnn_compiler.errors import BuildError

_ROOT = Path(__file__).parents[1]
# The last ones made for Keras 2. Those of the second list would bring a newer TensorFlow along.
_PACKAGES = ("larq-compute-engine==0.16.0", "tensorflow-cpu==2.16.2")
_ALONE = ("larq==0.13.3", "tf-keras==2.16.0", "terminaltables==3.1.10")
# Larq is written for Keras 2.
_VARIABLES = {
    "PYTHONPATH": str(_ROOT),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
}
# Characters of an ended process's log that an error shows.
_LAST = 1000


class LarqPeer:
    """A network in a process of its own, which ends when this object does."""

    def __init__(
        self, net: BiRealNet | QuickNet, shape: tuple[int, ...], *, indirect: bool
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        kernel = "indirect" if indirect else "default"
        self._process = subprocess.Popen(
            [python(), "-m", "benchmarks.larq_program", kernel],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **_VARIABLES},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands, self._answers = self._process.stdin, self._process.stdout
        self._ask(pickle.dumps((net, shape)))

    def set_input(self, x: Floats) -> None:
        """Use `x` [n, 3, h, w] in the inferences from now on."""
        self._ask(INPUT + pickle.dumps(x))

    def infer(self) -> None:
        """One inference on the input set before."""
        self._ask(INFER)

    def run(self, x: Floats) -> Floats:
        """The output for `x`."""
        self.set_input(x)
        self.infer()
        self._ask(OUTPUT)
        output: Floats = pickle.load(self._answers)
        return output

    def close(self) -> None:
        """End the process."""
        self._commands.close()
        self._process.wait()
        self._answers.close()
        self._log.close()

    def _ask(self, command: bytes) -> None:
        self._commands.write(command)
        self._commands.flush()
        if self._answers.read(1) != READY:
            self._process.wait()
            self._log.seek(0)
            last = self._log.read().decode(errors="replace")[-_LAST:]
            raise BuildError(f"Larq's process ended; the last it said:\n{last}")


def folder() -> Path:
    """Where the environment is, or will be."""
    key = hashlib.sha256(" ".join((sys.version, *_PACKAGES, *_ALONE)).encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("bnn_compiler")) / f"larq-{key}"


def python() -> Path:
    """The interpreter of the environment, which is made if it is not there.

    Raises BuildError if its packages cannot be installed.
    """
    made = folder() / "bin" / "python"
    ready = folder() / "ready"
    if ready.exists():
        return made
    venv.create(folder(), with_pip=True, clear=True)
    install = [str(made), "-m", "pip", "install", "--quiet"]
    try:
        subprocess.run([*install, *_PACKAGES], check=True)
        subprocess.run([*install, "--no-deps", *_ALONE], check=True)
    except subprocess.CalledProcessError as e:
        raise BuildError(f"cannot install Larq Compute Engine in {folder()}: {e}") from e
    ready.touch()
    return made
