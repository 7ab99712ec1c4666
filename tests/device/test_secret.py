"""Who does not know the secret gets no session, and gives none."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from tvm import rpc

from bnn_compiler import cli
from bnn_compiler import target as targets
from bnn_compiler.device import client, guarded
from bnn_compiler.device.address import Address
from bnn_compiler.device.boards import Boards
from bnn_compiler.device.client import BoardSession, Tracker
from bnn_compiler.device.measure import Plan
from bnn_compiler.device.secret import Secret
from bnn_compiler.errors import DeviceError
from tests.device import programs, wire
from tests.device.test_client import launcher

NATIVE = targets.load("native")


def other(path):
    """Another secret, beside this one."""
    found = path.with_name("other")
    found.write_text("another horse battery staple")
    found.chmod(0o600)
    return found


def session(board, path):
    return BoardSession("127.0.0.1", board.port, "here", launcher, Secret.read(path))


@contextlib.contextmanager
def impostor(talk):
    """The port of a server that has ``talk`` say something to its one client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock = listener.accept()[0]
            with sock:
                sock.settimeout(20)
                told.append(talk(sock))

        told = []
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], told
        thread.join(20)


def test_files(secret, tmp_path):
    assert "horse" not in repr(Secret.read(secret))
    bare = tmp_path / "bare"
    bare.write_bytes(secret.read_bytes().rstrip())
    bare.chmod(0o600)
    assert Secret.read(bare) == Secret.read(secret), "the end of the line does not count"


@pytest.mark.parametrize(
    ("data", "mode", "words"),
    [
        (b"x" * 15 + b"\n\n", 0o600, "a secret has"),
        (b"x" * 1025, 0o600, "a secret has"),
        (b"x" * 32, 0o640, "others can read it: chmod 600"),
        (b"x" * 32, 0o604, "others can read it: chmod 600"),
        (None, 0, "No such file"),
    ],
)
def test_bad_files_are_refused_by_both_sides(native, tmp_path, data, mode, words):
    path = tmp_path / "bad"
    if data is not None:
        path.write_bytes(data)
        path.chmod(mode)
    with pytest.raises(DeviceError, match=words):
        Secret.read(path)
    command = [native, "--key", "k", "--port", "0", "--secret", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and f"--secret {path}: " in done.stderr and words in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "xxx" not in done.stderr


def test_whoever_knows_it_gets_a_session(native, serve, secret):
    board = serve(native, "here", "--secret", str(secret))
    for _ in range(2):
        one = session(board, secret)
        data = os.urandom(100_000)
        paths = [one.put(data, name) for name in ("a", "b")]
        assert paths == ["./a", "./b"] and one.run(["cmp", *paths], 5) == (0, "")
        assert one.run(["sh", "-c", "echo a b; exit 3"], 5) == (3, "a b\n")
        assert one.run(["sleep", "60"], 1)[0] == 124
        with pytest.raises(DeviceError, match="bad file name"):
            one.put(b"", "../escape")
        one.close()


def test_long_secrets_agree(native, serve, tmp_path):
    for size in (16, 63, 64, 65, 1024):
        path = tmp_path / "long"
        path.write_bytes(bytes(1 + i % 251 for i in range(size - 1)) + b"\xff\r\n")
        path.chmod(0o600)
        session(serve(native, "here", "--secret", str(path)), path).close()


def test_another_secret_is_refused(native, serve, secret):
    board = serve(native, "here", "--secret", str(secret))
    with pytest.raises(DeviceError, match="has another secret"):
        session(board, other(secret))
    session(board, secret).close()


def test_no_secret_is_refused_in_one_line(native, serve, secret):
    board = serve(native, "here", "--secret", str(secret))
    with pytest.raises(DeviceError, match=r"^bnn-server: this board asks for a secret: give --sec"):
        BoardSession("127.0.0.1", board.port, "here", launcher)
    with pytest.raises(Exception, match="this board asks for a secret"):
        rpc.connect("127.0.0.1", board.port, "here")
    # Nor is there one for those who do not listen.
    with wire.hello(board.port) as found:
        found.sendall(wire.INIT + wire.upload("file", b"data"))
        found.shutdown(socket.SHUT_WR)
        wire.rest(found)
    assert not list(board.folder.rglob("file"))


def test_a_wrong_key_with_the_secret(native, serve, secret):
    board = serve(native, "here", "--secret", str(secret))
    with pytest.raises(client.Lost, match="does not match key=there"):
        BoardSession("127.0.0.1", board.port, "there", launcher, Secret.read(secret))


def test_a_server_without_authentication(native, serve, secret):
    board = serve(native, "here")
    with pytest.raises(DeviceError, match=r"has no authentication \(TVM's own, or bnn-server"):
        session(board, secret)
    address = Address.parse(f"rpc://127.0.0.1:{board.port}/here")
    with pytest.raises(DeviceError, match="has no authentication"):
        Boards(address, NATIVE.arch, NATIVE.link, Secret.read(secret))


def test_a_server_that_says_nothing(secret, monkeypatch):
    monkeypatch.setattr(guarded, "_GREET", 0.3)
    known = Secret.read(secret)
    with impostor(wire.rest) as (port, _), pytest.raises(DeviceError, match="no greeting"):
        client.check(Address(False, "127.0.0.1", port, "here"), known)


def challenge(sock, value):
    """Greet as a server with a secret, and challenge with ``value``; the client's proof."""
    words = b"server:here -secret"
    wire.receive(sock, len(wire.greeting("client:here -secret")))
    sock.sendall(struct.pack("<ii", wire.MAGIC, len(words)) + words + value)
    return wire.receive(sock, 64)


def test_a_server_that_does_not_know_it_gets_nothing(secret):
    def guess(sock):
        challenge(sock, os.urandom(32))
        sock.sendall(struct.pack("<i", wire.MAGIC) + os.urandom(32))
        return wire.rest(sock)

    def reflect(sock):
        proof = challenge(sock, os.urandom(32))
        sock.sendall(struct.pack("<i", wire.MAGIC) + proof[32:])
        return wire.rest(sock)

    for talk in (guess, reflect):
        refused = pytest.raises(DeviceError, match="does not know the secret; nothing was uploaded")
        with impostor(talk) as (port, told), refused:
            BoardSession("127.0.0.1", port, "here", launcher, Secret.read(secret))
        assert told == [b""]


def test_a_proof_counts_once_and_in_one_direction(native, serve, secret):
    board = serve(native, "here", "--secret", str(secret))
    words = "client:here -secret"
    nonces = set()
    with wire.hello(board.port, words) as found:
        theirs, mine = wire.prove(found, secret)
        nonces.add(theirs)
        known = mine + Secret.read(secret).proof(b"bnn-client", theirs, mine, "here")
        assert wire.code(found) == wire.MAGIC
        answer = wire.receive(found, 32)
        assert answer == Secret.read(secret).proof(b"bnn-server", theirs, mine, "here")
    for replayed in (known, mine + answer):
        with wire.hello(board.port, words) as found:
            nonces.add(wire.nonce(found))
            found.sendall(replayed)
            assert wire.code(found) == wire.MISMATCH and not wire.rest(found)
    with wire.hello(board.port, words) as found:
        wire.prove(found, secret, b"bnn-server")
        assert wire.code(found) == wire.MISMATCH and not wire.rest(found)
    assert len(nonces) == 3, "a challenge is new each time"


def test_what_our_server_sends_of_it(native, serve, secret):
    """A session's programs see neither the file's name nor the secret."""
    board = serve(native, "here", "--secret", str(secret))
    one = session(board, secret)
    assert one.run(["sh", "-c", "env; cat /proc/self/cmdline; ls /proc/self/fd"], 5)[0] == 0
    assert "horse" not in one.run(["env"], 5)[1]
    one.close()
    assert b"horse" not in Path(f"/proc/{board.process.pid}/cmdline").read_bytes()


def test_a_farm(tracker, native, serve, secret, registered, tmp_path):
    serve(native, "safe", "--tracker", tracker, "--secret", str(secret))
    address = Address.parse(registered(f"tracker://{tracker}/safe"))
    good = programs.script(tmp_path, "good", programs.GOOD)
    found = {}
    boards = Boards(address, NATIVE.arch, NATIVE.link, Secret.read(secret))
    boards.measure([good] * 3, Plan(), found.__setitem__)
    assert all(found[i].found for i in range(3))
    for wrong, words in ((None, "asks for a secret"), (other(secret), "another secret")):
        known = wrong and Secret.read(wrong)
        with pytest.raises(DeviceError, match=words):
            Boards(address, NATIVE.arch, NATIVE.link, known).measure([good], Plan(), print)
    with Tracker(address) as asked:
        lent = asked.request(lambda: False)
    BoardSession(*lent, launcher, Secret.read(secret)).close()


def test_answers_that_make_no_sense(secret):
    def talk(answer):
        def say(sock):
            theirs = os.urandom(32)
            mine = challenge(sock, theirs)[:32]
            proof = Secret.read(secret).proof(b"bnn-server", theirs, mine, "here")
            sock.sendall(struct.pack("<i", wire.MAGIC) + proof + answer)
            wire.rest(sock)

        return say

    for answer, words in (
        (struct.pack("<Q", 1 << 60), "sent a packet of"),
        (struct.pack("<Q", 3), "sent a packet of"),
        (wire.packet(4, struct.pack("<ii", 1, 77)), "malformed packet"),
        (wire.packet(4, struct.pack("<ii", 2, 0)), "malformed packet"),
        (wire.packet(4, struct.pack("<iiQ", 1, 8, 1 << 60)), "malformed packet"),
        (wire.packet(4, struct.pack("<iiQ", 1, 8, 1) + b"\xff"), "malformed packet"),
        (wire.packet(5, struct.pack("<i", 1) + wire.text("why")), "^why$"),
        (wire.packet(3, struct.pack("<Qi", 1, 0)), "malformed packet|packet 3"),
    ):
        with impostor(talk(answer)) as (port, _), pytest.raises(DeviceError, match=words):
            BoardSession("127.0.0.1", port, "here", launcher, Secret.read(secret))


@pytest.mark.parametrize("command", [["tune", "x.pt2"], ["bench", "x.bnn"]])
def test_a_secret_for_nobody(command, secret, capsys):
    assert cli.main([*command, "--secret", str(secret)]) != 0
    assert "--secret has no meaning without --device" in capsys.readouterr().err
