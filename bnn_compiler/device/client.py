"""A session with a board through TVM's RPC: files go in, programs run there, text comes out.

The board runs TVM's own server or ours (server.c). Ours runs programs; TVM's can only load
libraries, so it is given one that runs programs (launch.c).
"""

import contextlib
import logging
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from tvm import rpc
from tvm.rpc import base

from bnn_compiler.device.address import Address
from bnn_compiler.device.guarded import Guarded
from bnn_compiler.device.secret import Secret
from bnn_compiler.errors import DeviceError

#: Seconds to reach a tracker, and to wait for a board of its farm while none is there.
_REACH, _PATIENCE = 10.0, 60.0
#: What TVM puts before an error that the board itself reported.
_REPORTED = "Error caught from RPC call:"


log = logging.getLogger("bnn_compiler")


class Lost(Exception):
    """A board, or the connection to it, went away: its work is to be done again."""


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
                f"no tracker answers at {address.where} ({e}); start one with"
                f" `python -m tvm.exec.rpc_tracker --port {address.port}"
                f" --port-end {address.port + 1}`"
            ) from e
        if answer != base.RPC_TRACKER_MAGIC:
            self._socket.close()
            raise DeviceError(f"{address.where} is not a TVM tracker")

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
        start = asked = seen = time.monotonic()
        while not select.select([self._socket], [], [], 0.5)[0]:
            if given_up():
                return None
            now = time.monotonic()
            if now < asked + _PATIENCE / 10:
                continue
            asked = now
            with Tracker(self._address) as other:
                if self._address.key in other.registered():
                    if seen == start:
                        log.warning("waiting for a free device of %s", self._address)
                    seen = now
            if now > seen + _PATIENCE:
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


def count(address: Address) -> int:
    """How many boards there are now; 1 for one without a tracker."""
    if not address.farm:
        return 1
    with Tracker(address) as tracker:
        return tracker.registered().count(address.key)


def check(address: Address, secret: Secret | None = None) -> None:
    """Raise DeviceError if there is no board now, or it does not know the secret."""
    if not address.farm:
        try:
            if secret:
                Guarded(address.host, address.port, address.key, secret).abandon()
            else:
                socket.create_connection((address.host, address.port), _REACH).close()
        except OSError as e:
            raise DeviceError(
                f"no server answers at {address.where} ({e}); start bnn-server there, or `python -m"
                " tvm.exec.rpc_server`"
            ) from e
        return
    with Tracker(address) as tracker:
        known = tracker.registered()
    if address.key not in known:
        others = ", ".join(sorted(set(known))) or "none"
        raise DeviceError(
            f"no device of key {address.key} is registered at {address.where}"
            f" (there: {others}); start a server on the board, or name another key"
        )


class BoardSession:
    """A board, ours until ``close``. Not to be shared by threads.

    With a ``secret``, nothing is sent before both sides have proved that they know it. ``launcher``
    is the library for TVM's own server (program.launcher), asked for where that runs. Raises Lost
    where the connection breaks, DeviceError for what the board reports and a secret that differs.
    """

    def __init__(
        self,
        host: str,
        port: int,
        key: str,
        launcher: Callable[[], bytes],
        secret: Secret | None = None,
    ) -> None:
        self._board: _Guarded | _Stock
        if secret:
            self._board = _call(_Guarded, host, port, key, secret)
        else:
            self._board = _call(_Stock, host, port, key, launcher)

    def put(self, data: bytes, name: str) -> str:
        """Store a file; its path on the board."""
        return str(_call(self._board.put, data, name))

    def run(self, command: Sequence[str], seconds: int) -> tuple[int, str]:
        """(exit code, output) of a program; 124 if it took longer than ``seconds``."""
        text = _call(self._board.launch, seconds, *command)
        code, _, output = str(text).partition("\n")
        return int(code), output

    def close(self) -> None:
        """Give the board back; what was stored there is removed."""
        with contextlib.suppress(Lost):
            _call(self._board.close)


class _Guarded:
    """Our server, with a secret."""

    def __init__(self, host: str, port: int, key: str, secret: Secret) -> None:
        self._server = Guarded(host, port, key, secret)
        try:
            self._server.start()
        except BaseException:
            self._server.abandon()
            raise
        self.close = self._server.close

    def put(self, data: bytes, name: str) -> Any:
        self._server.call("tvm.rpc.server.upload", name, data)
        return self._server.call("tvm.rpc.server.workpath", name)

    def launch(self, seconds: int, *command: str) -> Any:
        return self._server.call("bnn.launch", seconds, *command)


class _Stock:
    """TVM's own server or ours, through TVM's client."""

    def __init__(self, host: str, port: int, key: str, launcher: Callable[[], bytes]) -> None:
        self._server = rpc.connect(host, port, key)
        self._path = self._server.get_function("tvm.rpc.server.workpath")
        try:
            self.launch = self._server.get_function("bnn.launch")
        except AttributeError:
            self.put(launcher(), "bnn_launch.so")
            self.launch = self._server.load_module("bnn_launch.so")["bnn_launch"]

    def put(self, data: bytes, name: str) -> Any:
        self._server.upload(bytearray(data), name)
        return self._path(name)

    def close(self) -> None:
        self._server._sess.get_function("CloseRPCConnection")()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (RuntimeError, OSError) as e:
        # TVM raises RuntimeErrors of several names; only the text tells a broken connection.
        words = str(e)
        if _REPORTED not in words:
            raise Lost((words.strip() or type(e).__name__).splitlines()[-1][:200]) from e
        told = [line.strip() for line in words.partition(_REPORTED)[2].splitlines()]
        raise DeviceError(" ".join(line for line in told if line)[-300:]) from e
