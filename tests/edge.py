"""What the tests of cross-compiled networks need: qemu, zig, and small networks."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign

#: .ci/run sets it: there, a test of cross-compiled code may not be skipped.
REQUIRED = bool(os.environ.get("BNN_REQUIRE_EMULATION"))


def require(available, why):
    """Skip, or fail where these tests are required."""
    if not available:
        (pytest.fail if REQUIRED else pytest.skip)(why)


def qemu():
    """The command of qemu-user for aarch64."""
    path = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    require(path, "no qemu-aarch64: apt-get install qemu-user")
    return path


def zig():
    """The command of zig."""
    require(importlib.util.find_spec("ziglang"), "no zig: pip install ziglang")
    return [sys.executable, "-m", "ziglang"]


def tool(*names):
    """The first of these programs that is installed."""
    found = next(filter(None, map(shutil.which, names)), None)
    require(found, f"no {' or '.join(names)}")
    return found


def shell(command, folder, **variables):
    """Run in a shell that stops at the first error; its output."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(folder, **scripts):
    """A PATH that starts with small shell programs: name -> what it does."""
    bin_ = folder / "bin"
    bin_.mkdir()
    for name, body in scripts.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_ / name).chmod(0o755)
    return f"{bin_}:{os.environ['PATH']}"


def python():
    """This Python as a command of a shell program."""
    return f'exec {sys.executable} "$@"'


def build_command(folder):
    """The command on the first line of an artifact's example.c."""
    first = (folder / "example.c").read_text().splitlines()[0]
    assert first.startswith("/* ") and first.endswith(" */")
    return first[3:-3]


def binary_net(channels, outputs=7, kernel=3):
    """A first convolution, one binary layer of odd width, a classifier."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        Sign(),
        BinaryConv2d(channels, channels, kernel, padding=kernel // 2),
        nn.BatchNorm2d(channels),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, outputs),
    ).eval()
