"""What comes over the network cannot harm our server, and its sessions leave nothing."""

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from bnn_compiler.device.client import BoardSession
from bnn_compiler.device.secret import Secret
from tests import edge
from tests.device import wire
from tests.device.test_client import launcher

STRING = struct.pack("<iQ", 8, 1 << 40)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 1 << 62),
        wire.packet(3, struct.pack("<Qi", 1 << 40, 0)),
        wire.packet(3, struct.pack("<Qi", 2, -5)),
        wire.packet(3, struct.pack("<Qi", 2, 1 << 30)),
        wire.packet(3, struct.pack("<Qi", 2, 1) + STRING + b"short"),
        wire.packet(3, struct.pack("<Qii", 2, 1, 77)),
        wire.packet(2, struct.pack("<Q", 5) + b"0.7.0" + struct.pack("<i", 0)),
        wire.packet(9, struct.pack("<i", 0)),
        wire.packet(99, b""),
        b"\0" * 64,
        random.Random(0).randbytes(4096),
    ],
)
def test_malformed_packets(native, serve, data):
    board = serve(native, "here")
    with wire.hello(board.port) as found:
        found.sendall(wire.INIT + data)
        found.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while found.recv(4096):
                pass
    BoardSession("127.0.0.1", board.port, "here", launcher).close()


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", struct.pack("<ii", wire.MAGIC, -1)]
)
def test_strangers(native, serve, data):
    board = serve(native, "here")
    with socket.create_connection(("127.0.0.1", board.port), 10) as found:
        found.sendall(data)
    BoardSession("127.0.0.1", board.port, "here", launcher).close()


def test_a_client_that_leaves_ends_its_program(native, serve):
    board = serve(native, "here")
    with wire.hello(board.port) as found:
        body = b"#!/bin/sh\necho $$ > ../pid\nexec sleep 60\n"
        run = wire.ask("bnn.launch") + wire.upload("sleeper", body) + wire.launch(60, "./sleeper")
        found.sendall(wire.INIT + run)
        pid = board.folder / "pid"
        for _ in range(200):
            if pid.exists() and pid.read_text().strip():
                break
            time.sleep(0.05)
    number = int(pid.read_text())
    pid.unlink()
    for _ in range(200):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the program still runs")


def test_it_ends_by_a_signal_and_tidies_up(native, serve):
    board = serve(native, "here")
    session = BoardSession("127.0.0.1", board.port, "here", launcher)
    session.put(b"data", "file")
    assert list(board.folder.rglob("file"))
    assert board.end(signal.SIGINT) == 0 and not list(board.folder.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--key is needed"),
        (["--key", 'a"b'], "--key: letters"),
        (["--key", "k", "--tracker", "lab"], "--tracker takes HOST:PORT"),
        (["--key", "k", "--port"], "--port needs a value"),
        (["--key", "k", "--nonsense", "1"], "--nonsense is not an option"),
        (["--key", "k", "--port", "nonsense"], "--port is 0 to 65535"),
        (["--key", "k", "--port", "65536"], "--port is 0 to 65535"),
        (["--key", "k", "--port", "0", "--bind", "no.such.host.invalid"], "--bind no.such.host"),
        (["--key", "k", "--port", "0", "--bind", "300.1.1.1"], "--bind 300.1.1.1: "),
        (
            ["--key", "k", "--port", "0", "--bind", "192.0.2.1"],
            "listen on 192.0.2.1, port 0: Cannot",
        ),
        (["--key", "k", "--announce", 'a"b'], "--announce takes an address"),
        (["--key", "k", "--run-with", "w " * 17], "--run-with takes at most 16 words"),
        (["--key", "k", "--secret", "."], "--secret .: "),
    ],
)
def test_wrong_options(native, options, words):
    done = subprocess.run([native, *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and words in done.stderr


def listens(board, host):
    with contextlib.suppress(OSError), socket.create_connection((host, board.port), 5):
        return True
    return False


def test_it_listens_on_this_machine_only(native, serve):
    board = serve(native, "here")
    own = Path(f"/proc/{board.process.pid}/net/tcp").read_text().splitlines()[1:]
    local = [
        w[1] for w in map(str.split, own) if w[3] == "0A" and w[1].endswith(f":{board.port:04X}")
    ]
    assert local == [f"0100007F:{board.port:04X}"], "127.0.0.1"
    assert listens(board, "127.0.0.1") and not listens(board, "127.0.0.2")


def test_another_address_is_an_option(native, serve):
    board = serve(native, "here", "--bind", "127.0.0.2")
    assert listens(board, "127.0.0.2") and not listens(board, "127.0.0.1")
    BoardSession("127.0.0.2", board.port, "here", launcher).close()


def test_ipv6(native, serve, secret):
    edge.require(Path("/proc/net/if_inet6").exists(), "no IPv6")
    board = serve(native, "here", "--bind", "::1", "--secret", str(secret))
    assert listens(board, "::1") and not listens(board, "127.0.0.1")
    BoardSession("::1", board.port, "here", launcher, Secret.read(secret)).close()


@pytest.mark.parametrize("known", [False, True])
def test_an_open_door_is_told(native, secret, known):
    """At an address that no machine has: it is not opened."""
    command = [native, "--key", "k", "--bind", "192.0.2.1"]
    command += ["--secret", str(secret)] if known else []
    told = subprocess.run(command, capture_output=True, text=True, timeout=20).stderr.splitlines()
    warning = "bnn-server: whoever reaches 192.0.2.1 can run programs here: --secret FILE"
    assert told[:-1] == ([] if known else [warning]) and "cannot listen" in told[-1]
