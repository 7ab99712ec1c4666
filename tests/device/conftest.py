"""Trackers and boards on loopback: TVM's tracker, and our server native or under qemu."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from bnn_compiler import target as targets
from bnn_compiler.device import client, program
from bnn_compiler.device.address import Address
from bnn_compiler.errors import DeviceError
from tests import edge

ARM = "cortex-a72"


class Board:
    """A server in a process group of its own."""

    def __init__(self, command, environment=None, folder=None):
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        line = self.process.stdout.readline()
        assert " on port " in line, line
        self.port = int(line.split()[-1])

    def end(self, number=signal.SIGTERM):
        """Its exit code after this signal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """The path of our server for this machine."""
    path = tmp_path_factory.mktemp("server") / "bnn-server"
    program.server(targets.load("native"), path)
    return path


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """The same, with the compiler's checks of memory and arithmetic."""
    path = tmp_path_factory.mktemp("server") / "bnn-server"
    sources = [str(program.HERE / name) for name in program.SERVER]
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    subprocess.run([edge.tool("gcc", "clang"), *flags, "-o", str(path), *sources], check=True)
    return path


@pytest.fixture
def secret(tmp_path):
    """A file with a secret."""
    path = tmp_path / "secret"
    path.write_text("correct horse battery staple\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def arm(tmp_path_factory, qemu):
    """The path of our server for aarch64."""
    path = tmp_path_factory.mktemp("server") / "bnn-server"
    program.server(targets.load(ARM), path)
    return path


@pytest.fixture
def serve(tmp_path):
    """Starts boards, each with a folder for its files; ends them all and looks for litter."""
    started = []

    def start(server, key, *options, prefix=(), **environment):
        folder = tmp_path / f"board{len(started)}"
        folder.mkdir()
        board = Board(
            [*prefix, str(server), "--key", key, "--port", "0", *options],
            {"TMPDIR": str(folder), **environment},
        )
        board.folder = folder
        started.append(board)
        return board

    yield start
    for board in started:
        if board.end() == 0:
            assert not list(board.folder.iterdir()), "files were left on the board"


def first_port():
    """Where TVM's servers look for a free port; not the same in two processes of the suite."""
    return 10_000 + os.getpid() % 20_000


@pytest.fixture
def closed_port():
    """A port of loopback that is taken, by a socket that does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def tracker():
    """HOST:PORT of TVM's tracker."""
    edge.require(importlib.util.find_spec("tornado"), "no tornado: pip install tornado")
    # What `python -m tvm.exec.rpc_tracker` starts, without the process in between.
    state = f"tracker.PopenTrackerServerState('127.0.0.1', {first_port()}, 65535)"
    code = f"from tvm.rpc import tracker; print({state}.port, flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline())
    address = Address(True, "127.0.0.1", port, "any")
    for _ in range(600):
        try:
            client.Tracker(address).__exit__()
            break
        except DeviceError:
            assert process.poll() is None
            time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def registered():
    """Waits until a tracker has so many boards of a key."""

    def wait(address, count=1):
        parsed = Address.parse(address)
        for _ in range(600):
            with client.Tracker(parsed) as found:
                if found.registered().count(parsed.key) == count:
                    return address
            time.sleep(0.1)
        raise AssertionError(f"{address} has not {count} boards")

    return wait
