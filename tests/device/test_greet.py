"""Connections that do not get anywhere keep nobody out, and random bytes do no harm."""

import contextlib
import os
import random
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from bnn_compiler.device.client import BoardSession
from bnn_compiler.device.secret import Secret
from tests.device import wire
from tests.device.test_client import launcher

#: greet.c: seconds of a greeting, connections in one, clients that wait for their turn.
GREET, GUESTS, WAITING = 5, 48, 16


@pytest.fixture
def board(native, serve, secret):
    return serve(native, "here", "--secret", str(secret))


def session(board, secret):
    return BoardSession("127.0.0.1", board.port, "here", launcher, Secret.read(secret))


def gets_in(board, secret):
    """Seconds until a client has run a program."""
    start = time.monotonic()
    one = session(board, secret)
    assert one.run(["echo", "in"], 5) == (0, "in\n")
    one.close()
    return time.monotonic() - start


def descriptors(board):
    return len(list(Path(f"/proc/{board.process.pid}/fd").iterdir()))


def pages(board):
    return int(Path(f"/proc/{board.process.pid}/statm").read_text().split()[1])


def silent(port, count, stage):
    """Connections that stop where ``stage`` says."""
    found = [wire.connect(port) for _ in range(count)]
    for sock in found:
        if stage in ("hello", "proof"):
            sock.sendall(wire.greeting("client:here -secret")[: None if stage == "proof" else 9])
    return found


@pytest.mark.parametrize("stage", ["nothing", "hello", "proof"])
def test_silent_connections_keep_nobody_out(board, secret, stage):
    with contextlib.ExitStack() as stack:
        for sock in silent(board.port, 60, stage):
            stack.enter_context(sock)
        assert gets_in(board, secret) < GREET - 1, "it did not wait for them to be dropped"


def test_no_secret_is_needed_for_that(native, serve):
    board = serve(native, "here")
    with contextlib.ExitStack() as stack:
        for words in ("client:here", "client:"):
            for _ in range(30):
                # Some are through the handshake, and stop there.
                stack.enter_context(wire.hello(board.port, words))
        start = time.monotonic()
        BoardSession("127.0.0.1", board.port, "here", launcher).close()
        assert time.monotonic() < start + GREET - 1


@pytest.mark.parametrize("stage", ["hello", "proof", "first"])
def test_dripping_connections_are_dropped(board, secret, stage):
    """The time is for all of the greeting, not for each byte."""
    with wire.connect(board.port) as sock:
        sock.settimeout(0.5)
        start = time.monotonic()
        if stage == "first":
            sock.sendall(wire.greeting("client:here -secret"))
            wire.prove(sock, secret)
            assert wire.code(sock) == wire.MAGIC and len(wire.receive(sock, 32)) == 32
        if stage == "proof":
            sock.sendall(wire.greeting("client:here -secret"))
            wire.nonce(sock)
        drops = wire.greeting("client:here" + " -secret" * 40) if stage == "hello" else bytes(60)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for i in range(60):
                if stage != "first":
                    sock.sendall(drops[i : i + 1])
                with contextlib.suppress(TimeoutError):
                    assert not sock.recv(1)
                    break
        assert GREET - 1 < time.monotonic() - start < GREET + 2


def test_dripping_connections_keep_nobody_out(board, secret):
    over = threading.Event()
    socks = silent(board.port, 100, "nothing")

    def drip():
        for byte in wire.greeting("client:here -secret"):
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(bytes([byte]))
            if over.wait(0.1):
                break

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert max(gets_in(board, secret) for _ in range(5)) < GREET - 1
    finally:
        over.set()
        thread.join()
        for sock in socks:
            sock.close()


def test_greetings_go_on_while_the_board_is_busy(board, secret):
    busy = session(board, secret)
    with contextlib.ExitStack() as stack:
        for sock in silent(board.port, 60, "nothing"):
            stack.enter_context(sock)
        results = []
        others = [
            threading.Thread(target=lambda: results.append(gets_in(board, secret)))
            for _ in range(4)
        ]
        for thread in others:
            thread.start()
        assert busy.run(["sh", "-c", "sleep 1; echo done"], 5) == (0, "done\n"), "undisturbed"
        assert not results, "one measures at a time"
        busy.close()
        for thread in others:
            thread.join(20)
    assert len(results) == 4


def test_a_waiting_client_that_leaves_is_forgotten(board, secret):
    busy = session(board, secret)
    before = descriptors(board)
    for _ in range(2 * WAITING):
        with wire.hello(board.port, "client:here -secret") as sock:
            wire.prove(sock, secret)
            wire.receive(sock, 36)
            sock.sendall(wire.INIT)
    for _ in range(100):
        if descriptors(board) <= before:
            break
        time.sleep(0.05)
    assert descriptors(board) <= before
    busy.close()
    assert gets_in(board, secret) < GREET


def test_those_who_wait_are_bounded(board, secret):
    busy = session(board, secret)
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(WAITING + 5):
            sock = stack.enter_context(wire.hello(board.port, "client:here -secret"))
            wire.prove(sock, secret)
            wire.receive(sock, 36)
            sock.sendall(wire.INIT)
            waiting.append(sock)
        for sock in waiting[WAITING:]:
            assert not wire.rest(sock), "closed at once"
        assert descriptors(board) <= 8 + WAITING
        busy.close()
        size, number = struct.unpack("<Qi", wire.receive(waiting[0], 12))
        assert (size, number) == (12, 4), "the first is served next"


@pytest.mark.parametrize("stage", ["nothing", "hello", "proof"])
def test_a_thousand_connections_grow_nothing(board, secret, stage):
    gets_in(board, secret)
    before, memory = descriptors(board), pages(board)
    socks = []
    for _ in range(20):
        socks += silent(board.port, 50, stage)
        # One more while the oldest makes room.
        assert descriptors(board) <= before + GUESTS + 1
    gets_in(board, secret)
    assert pages(board) <= memory + 64
    for sock in socks:
        sock.close()
    for _ in range(100):
        if descriptors(board) <= before:
            break
        time.sleep(0.05)
    assert descriptors(board) <= before


def fuzz(draw, stage, sock, secret):
    """Valid up to a stage, then noise, in pieces."""
    words = "client:here -secret"
    if stage in ("length", "words"):
        sock.sendall(struct.pack("<i", wire.MAGIC))
    if stage == "words":
        sock.sendall(struct.pack("<i", draw.randrange(1, 600)))
    if stage in ("proof", "after", "packets", "calls"):
        sock.sendall(wire.greeting(words))
    if stage in ("after", "packets", "calls"):
        wire.prove(sock, secret)
        wire.receive(sock, 36)
    if stage in ("packets", "calls"):
        sock.sendall(wire.INIT)
    for _ in range(draw.randrange(1, 6)):
        noise = draw.randbytes(draw.choice([1, 3, 8, 64, 700]))
        if stage == "packets":
            noise = wire.packet(draw.randrange(12), noise)
        if stage == "calls":
            # Whole values, and a count and types that fit or not.
            values = [
                draw.choice(
                    [
                        wire.text(noise[: draw.randrange(20)]),
                        struct.pack("<iQ", 9, len(noise)) + noise,
                        struct.pack("<iq", draw.choice([0, 1, 3, 4]), draw.getrandbits(62)),
                    ]
                )
                for _ in range(draw.randrange(4))
            ]
            count = draw.choice([len(values), len(values), 17, -1])
            body = struct.pack("<Qi", draw.randrange(1, 4), count) + b"".join(values)
            noise = wire.packet(3, body)
        sock.sendall(noise)


STAGES = ["first", "length", "words", "proof", "after", "packets", "calls"]


@pytest.mark.parametrize("stage", STAGES)
def test_noise(sanitized, serve, secret, tmp_path, stage):
    logs = tmp_path / "logs"
    logs.mkdir()
    options = f"log_path={logs}/san"
    board = serve(
        sanitized,
        "here",
        "--secret",
        str(secret),
        ASAN_OPTIONS=options,
        UBSAN_OPTIONS=options,
    )
    draw = random.Random(STAGES.index(stage))
    for _ in range(40):
        with wire.connect(board.port) as sock, contextlib.suppress(OSError):
            fuzz(draw, stage, sock, secret)
            if draw.random() < 0.7:
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(0.2)
                wire.rest(sock)
    assert gets_in(board, secret) < 20
    assert board.process.poll() is None
    assert not [p.read_text() for p in logs.iterdir()]


def test_secrets_are_not_told_by_the_answers(board):
    """Every wrong proof has the same answer."""
    answers = set()
    for _ in range(5):
        with wire.hello(board.port, "client:here -secret") as sock:
            wire.nonce(sock)
            sock.sendall(os.urandom(64))
            answers.add(wire.rest(sock))
    assert answers == {struct.pack("<i", wire.MISMATCH)}
