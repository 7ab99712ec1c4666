"""A session with a board through TVM's RPC: files go in, programs run there, text comes out.

The board runs TVM's own server or ours (server.c). Ours runs programs; TVM's can only load
libraries, so it is given one that runs programs (launch.c).
"""

import re
import select
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm import rpc
from tvm.rpc import base

from bnn_compiler.deploy.link import Toolchain
from bnn_compiler.device import program
from bnn_compiler.errors import DeviceError

_FORMS = "tracker://HOST:PORT/KEY or rpc://HOST:PORT/KEY"
#: Seconds to reach a tracker, and to wait for a board of its farm while none is there.
_REACH, _PATIENCE = 10.0, 60.0
#: What TVM puts before an error that the board itself reported.
_REPORTED = "Error caught from RPC call:"


class Lost(Exception):
    """A board, or the connection to it, went away: its work is to be done again."""


@dataclass(frozen=True)
class Address:
    """A tracker's boards of one key (``farm``), or the one board at ``host``:``port``."""

    farm: bool
    host: str
    port: int
    key: str

    @staticmethod
    def parse(text: str) -> "Address":
        """From the command line. Raises DeviceError for anything but the two forms."""
        found = re.fullmatch(r"(tracker|rpc)://([^/:]+|\[[^]]+\]):(\d+)/([\w.-]+)", text)
        if not found or not 0 < int(found[3]) < 65536:
            raise DeviceError(f"--device {text}: give {_FORMS}")
        return Address(found[1] == "tracker", found[2].strip("[]"), int(found[3]), found[4])

    def __str__(self) -> str:
        return f"{'tracker' if self.farm else 'rpc'}://{self.host}:{self.port}/{self.key}"


class Tracker:
    """A connection to a tracker. Raises DeviceError where none answers."""

    def __init__(self, address: Address) -> None:
        self._address = address
        try:
            self._socket = socket.create_connection((address.host, address.port), _REACH)
            # Messages go out in two parts, and the second must not wait for an answer.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            answer = struct.unpack("<i", base.recvall(self._socket, 4))[0]
        except OSError as e:
            raise DeviceError(
                f"no tracker answers at {address.host}:{address.port} ({e}); start one with"
                f" `python -m tvm.exec.rpc_tracker --port {address.port}`"
            ) from e
        if answer != base.RPC_TRACKER_MAGIC:
            self._socket.close()
            raise DeviceError(f"{address.host}:{address.port} is not a TVM tracker")

    def registered(self) -> list[str]:
        """The keys of all boards, each as often as it has boards."""
        code, state = self._ask([base.TrackerCode.SUMMARY])
        if code != base.TrackerCode.SUCCESS:
            raise DeviceError(f"the tracker of {self._address} does not tell its devices")
        return [str(s["key"]).removeprefix("server:") for s in state["server_info"]]

    def request(self, given_up: Callable[[], bool]) -> tuple[str, int, str] | None:
        """Wait for a free board: its host, port and match key. None when ``given_up``.

        Raises DeviceError if no board has been registered for a while.
        """
        self._send([base.TrackerCode.REQUEST, self._address.key, "", 1])
        seen = time.monotonic()
        while not select.select([self._socket], [], [], 0.5)[0]:
            if given_up():
                return None
            if time.monotonic() > seen + _PATIENCE / 10:
                with Tracker(self._address) as other:
                    if self._address.key in other.registered():
                        seen = time.monotonic()
            if time.monotonic() > seen + _PATIENCE:
                raise DeviceError(f"every device of {self._address} is gone")
        code, found = self._receive()
        if code != base.TrackerCode.SUCCESS:
            raise DeviceError(f"the tracker refused to lend {self._address}")
        return str(found[0]), int(found[1]), str(found[2])

    def _ask(self, message: list[Any]) -> Any:
        self._send(message)
        return self._receive()

    def _send(self, message: list[Any]) -> None:
        try:
            base.sendjson(self._socket, message)
        except OSError as e:
            raise DeviceError(f"the tracker of {self._address} is gone: {e}") from e

    def _receive(self) -> Any:
        try:
            return base.recvjson(self._socket)
        except (OSError, ValueError) as e:
            raise DeviceError(f"the tracker of {self._address} is gone: {e}") from e

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()


def boards(address: Address) -> int:
    """How many there are now. Raises DeviceError if there is none."""
    if not address.farm:
        return 1
    with Tracker(address) as tracker:
        known = tracker.registered()
    if address.key not in known:
        others = ", ".join(sorted(set(known))) or "none"
        raise DeviceError(
            f"no device of key {address.key} is registered at {address.host}:{address.port}"
            f" (there: {others}); start a server on the board, or name another key"
        )
    return known.count(address.key)


class Session:
    """A board, ours until ``close``; ``tools`` link for it. Not to be shared by threads.

    Raises Lost where the connection breaks, DeviceError for what the board reports.
    """

    def __init__(self, host: str, port: int, key: str, tools: Toolchain) -> None:
        self._tools = tools
        self._server = self._call(rpc.connect, host, port, key)
        self._path = self._call(self._server.get_function, "tvm.rpc.server.workpath")
        self._launch = self._call(self._function, "bnn.launch") or self._with_launcher()

    def put(self, data: bytes, name: str) -> str:
        """Store a file; its path on the board."""
        self._call(self._server.upload, bytearray(data), name)
        return str(self._call(self._path, name))

    def run(self, command: Sequence[str], seconds: int) -> tuple[int, str]:
        """(exit code, output) of a program; 124 if it took longer than ``seconds``."""
        code, _, output = str(self._call(self._launch, seconds, *command)).partition("\n")
        return int(code), output

    def close(self) -> None:
        """Give the board back; what was stored there is removed."""
        self._call(self._server._sess.get_function("CloseRPCConnection"))

    def _function(self, name: str) -> Any:
        try:
            return self._server.get_function(name)
        except AttributeError:
            return None

    def _with_launcher(self) -> Any:
        with tempfile.TemporaryDirectory(prefix="bnnc-device-") as folder:
            library = Path(folder) / "bnn_launch.so"
            program.launcher(self._tools, library)
            self.put(library.read_bytes(), library.name)
        return self._call(self._server.load_module, "bnn_launch.so")["bnn_launch"]

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (RuntimeError, OSError) as e:
            # TVM raises RuntimeErrors of several names; only the text tells a broken connection.
            words = str(e)
            if _REPORTED not in words:
                raise Lost(words.strip().splitlines()[-1][:200]) from e
            told = [line.strip() for line in words.partition(_REPORTED)[2].splitlines()]
            raise DeviceError(" ".join(line for line in told if line)[-300:]) from e
