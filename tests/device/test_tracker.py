"""What a server tells its tracker, seen by a tracker that only writes it down."""

import contextlib
import socket
import struct
import subprocess
import threading

import pytest
from tvm.rpc import base

from bnn_compiler.device.client import BoardSession, Lost
from bnn_compiler.device.secret import Secret
from tests.device.test_client import launcher


class Notebook:
    """Says yes to everything; ``told`` are a server's messages."""

    def __init__(self, listener):
        self.told = []
        self.ready = threading.Event()
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            sock = self._listener.accept()[0]
            assert struct.unpack("<i", base.recvall(sock, 4))[0] == base.RPC_TRACKER_MAGIC
            sock.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            while True:
                message = base.recvjson(sock)
                self.told.append(message)
                pending = message[0] == base.TrackerCode.GET_PENDING_MATCHKEYS
                base.sendjson(sock, self.matches() if pending else 0)
                if message[0] == base.TrackerCode.PUT:
                    self.ready.set()

    def matches(self):
        return [m[2][1] for m in self.told if m[0] == base.TrackerCode.PUT]


@pytest.fixture
def notebook():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Notebook(listener)


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ((), "127.0.0.1"),
        (("--announce", "board.example"), "board.example"),
        (("--bind", "127.0.0.2"), "127.0.0.2"),
        (("--bind", "127.0.0.2", "--announce", "10.0.0.7"), "10.0.0.7"),
    ],
)
def test_the_address_that_clients_are_told(native, serve, notebook, options, address):
    board = serve(native, "here", "--tracker", f"127.0.0.1:{notebook.port}", *options)
    assert notebook.ready.wait(20)
    update, put = notebook.told[:2]
    assert update == [
        base.TrackerCode.UPDATE_INFO,
        {"key": "server:here", "addr": [address, board.port]},
    ]
    assert put[:2] == [base.TrackerCode.PUT, "here"] and put[2][0] == board.port
    assert put[3] == address


def test_an_offer_is_for_one_client(native, serve, notebook, secret):
    board = serve(
        native, "here", "--tracker", f"127.0.0.1:{notebook.port}", "--secret", str(secret)
    )
    assert notebook.ready.wait(20)
    (match,) = notebook.matches()
    known = Secret.read(secret)
    for guess in ("here", f"{match}0"):
        with pytest.raises(Lost, match="does not match key"):
            BoardSession("127.0.0.1", board.port, guess, launcher, known)
    one = BoardSession("127.0.0.1", board.port, match, launcher, known)
    with pytest.raises(Lost, match="does not match key"):
        BoardSession("127.0.0.1", board.port, match, launcher, known)
    notebook.ready.clear()
    one.close()
    assert notebook.ready.wait(20) and len(set(notebook.matches())) == 2


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_loopback_and_a_tracker_elsewhere(native, host):
    """Nothing is sent there: the addresses are those of documentation."""
    command = [native, "--key", "k", "--port", "0", "--tracker", f"{host}:9190"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    for words in ("cannot reach this server", "--bind 0.0.0.0", "--secret FILE", "--announce"):
        assert words in done.stderr
