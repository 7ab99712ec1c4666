"""What comes over the network cannot harm our server, and its sessions leave nothing."""

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import time

import pytest

from bnn_compiler.device.client import Session
from tests.device.test_client import launcher

MAGIC = 0xFF271


def hello(port, key="client:here"):
    found = socket.create_connection(("127.0.0.1", port), 10)
    found.sendall(struct.pack("<ii", MAGIC, len(key)) + key.encode())
    return found


def packet(code, body):
    return struct.pack("<Qi", 4 + len(body), code) + body


INIT = packet(2, struct.pack("<Q", 5) + b"0.8.0" + struct.pack("<i", 0))
STRING = struct.pack("<iQ", 8, 1 << 40)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 1 << 62),
        packet(3, struct.pack("<Qi", 1 << 40, 0)),
        packet(3, struct.pack("<Qi", 2, -5)),
        packet(3, struct.pack("<Qi", 2, 1 << 30)),
        packet(3, struct.pack("<Qi", 2, 1) + STRING + b"short"),
        packet(3, struct.pack("<Qii", 2, 1, 77)),
        packet(2, struct.pack("<Q", 5) + b"0.7.0" + struct.pack("<i", 0)),
        packet(9, struct.pack("<i", 0)),
        packet(99, b""),
        b"\0" * 64,
        random.Random(0).randbytes(4096),
    ],
)
def test_malformed_packets(native, serve, data):
    board = serve(native, "here")
    with hello(board.port) as found:
        found.sendall(INIT + data)
        found.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while found.recv(4096):
                pass
    Session("127.0.0.1", board.port, "here", launcher).close()


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", struct.pack("<ii", MAGIC, -1)])
def test_strangers(native, serve, data):
    board = serve(native, "here")
    with socket.create_connection(("127.0.0.1", board.port), 10) as found:
        found.sendall(data)
    Session("127.0.0.1", board.port, "here", launcher).close()


def test_a_client_that_leaves_ends_its_program(native, serve):
    board = serve(native, "here")
    with hello(board.port) as found:
        run = "bnn.launch"
        asked = struct.pack("<iiQ", 1, 8, len(run)) + run.encode()
        name = b"./sleeper"
        body = b"#!/bin/sh\necho $$ > ../pid\nexec sleep 60\n"
        upload = struct.pack("<QiiQ", 2, 2, 8, 7) + b"sleeper"
        upload += struct.pack("<iQ", 9, len(body)) + body
        launch = struct.pack("<QiiqiQ", 3, 2, 1, 60, 8, len(name)) + name
        found.sendall(INIT + packet(9, asked) + packet(3, upload) + packet(3, launch))
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
    session = Session("127.0.0.1", board.port, "here", launcher)
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
        (["--key", "k", "--port", "nonsense"], "--port"),
    ],
)
def test_wrong_options(native, options, words):
    done = subprocess.run([native, *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and words in done.stderr
