"""A session with a board's server (server.c) after both have proved that they know a secret.

TVM's client cannot take a connection that is open already, and calls what its server asks it to
call: nothing of the board reaches it here before the proof, nor after.
"""

import hmac
import secrets
import socket
import struct
from typing import Any

from tvm.rpc import base

from bnn_compiler.device.secret import NONCE, PROOF, Secret
from bnn_compiler.errors import DeviceError

#: Seconds for the proof; and for an answer, in which a program may run (server.c ends the session).
_GREET, _ANSWER = 10.0, 600.0
#: Bytes that an answer has at most (a program's output, LAUNCH_TEXT).
_MOST = 1 << 20
#: Codes of packets and types of values: session.c.
_SHUTDOWN, _INIT, _CALL, _RETURN, _GET_FUNCTION = 1, 2, 3, 4, 9
_NONE, _INT, _POINTER, _RAW_STR, _BYTE_ARRAY = 0, 1, 4, 8, 9
_VERSION = b"0.8.0"


class Guarded:
    """A connection whose two ends know ``secret``. Not to be shared by threads.

    Raises OSError where the connection breaks or ``key`` is not the server's, DeviceError where
    the server has no secret or another, and for what the board reports.
    """

    def __init__(self, host: str, port: int, key: str, secret: Secret) -> None:
        self._where = f"{host}:{port}"
        self._functions: dict[str, int] = {}
        self._socket = socket.create_connection((host, port), _GREET)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._hello(key)
            self._prove(key, secret)
            self._socket.settimeout(_ANSWER)
        except BaseException:
            self._socket.close()
            raise

    def start(self) -> None:
        """Wait for the board, which measures for one at a time."""
        self._ask(_INIT, struct.pack("<Q", len(_VERSION)) + _VERSION + struct.pack("<i", 0))

    def call(self, name: str, *arguments: str | int | bytes) -> Any:
        """Call a function of the server: text, a number or None."""
        if name not in self._functions:
            handle = self._ask(_GET_FUNCTION, _values(name))[0]
            if not isinstance(handle, int) or not handle:
                raise DeviceError(f"the server at {self._where} has no {name}")
            self._functions[name] = handle
        found = self._ask(_CALL, struct.pack("<Q", self._functions[name]) + _values(*arguments))
        return found[-1] if found else None

    def close(self) -> None:
        """Give the board back."""
        with self._socket:
            self._send(_SHUTDOWN, b"")

    def abandon(self) -> None:
        """Close the connection, whatever state it is in."""
        self._socket.close()

    def _hello(self, key: str) -> None:
        words = f"client:{key} -secret".encode()
        self._socket.sendall(struct.pack("<ii", base.RPC_MAGIC, len(words)) + words)
        try:
            code = struct.unpack("<i", self._receive(4))[0]
        except TimeoutError as e:
            raise TimeoutError(
                "no greeting: TVM's own server while it is busy, or none of RPC"
            ) from e
        if code == base.RPC_CODE_MISMATCH:
            raise ConnectionError(f"the server there does not match key={key}")
        if code != base.RPC_MAGIC:
            raise DeviceError(f"{self._where} is not a TVM RPC server")
        size = struct.unpack("<i", self._receive(4))[0]
        answer = self._receive(size) if 0 <= size <= 512 else b""
        if b"-secret" not in answer.split()[1:]:
            raise DeviceError(
                f"the server at {self._where} has no authentication (TVM's own, or bnn-server"
                " without --secret); start bnn-server --secret FILE there, or leave --secret out"
            )

    def _prove(self, key: str, secret: Secret) -> None:
        theirs, mine = self._receive(NONCE), secrets.token_bytes(NONCE)
        self._socket.sendall(mine + secret.proof(b"bnn-client", theirs, mine, key))
        code = struct.unpack("<i", self._receive(4))[0]
        if code != base.RPC_MAGIC:
            raise DeviceError(f"the server at {self._where} has another secret than --secret")
        expected = secret.proof(b"bnn-server", theirs, mine, key)
        if not hmac.compare_digest(expected, self._receive(PROOF)):
            raise DeviceError(
                f"the server at {self._where} does not know the secret; nothing was uploaded"
            )

    def _receive(self, size: int) -> bytes:
        return bytes(base.recvall(self._socket, size))

    def _send(self, code: int, body: bytes) -> None:
        self._socket.sendall(struct.pack("<Qi", 4 + len(body), code) + body)

    def _ask(self, code: int, body: bytes) -> list[Any]:
        self._send(code, body)
        size = struct.unpack("<Q", self._receive(8))[0]
        if not 8 <= size <= _MOST:
            raise DeviceError(f"the server at {self._where} sent a packet of {size} bytes")
        packet = self._receive(size)
        try:
            found = _read(packet)
        except (struct.error, UnicodeDecodeError) as e:
            raise DeviceError(f"the server at {self._where} sent a malformed packet") from e
        answer = struct.unpack_from("<i", packet)[0]
        if answer != _RETURN:
            words = found[0] if found and isinstance(found[0], str) else f"packet {answer}"
            raise DeviceError(" ".join(words.split())[-300:])
        return found


def _values(*values: str | int | bytes) -> bytes:
    """A packet's number of values, and they."""
    body = struct.pack("<i", len(values))
    for value in values:
        if isinstance(value, int):
            body += struct.pack("<iq", _INT, value)
        else:
            data = value.encode() if isinstance(value, str) else value
            kind = _RAW_STR if isinstance(value, str) else _BYTE_ARRAY
            body += struct.pack("<iQ", kind, len(data)) + data
    return body


def _read(packet: bytes) -> list[Any]:
    """The values of an answer. Raises struct.error for anything that bnn-server does not send."""
    _, count = struct.unpack_from("<ii", packet)
    found: list[Any] = []
    at = 8
    for _ in range(count):
        kind = struct.unpack_from("<i", packet, at)[0]
        at += 4
        if kind == _NONE:
            found.append(None)
        elif kind in (_INT, _POINTER):
            found.append(struct.unpack_from("<q", packet, at)[0])
            at += 8
        elif kind == _RAW_STR:
            size = struct.unpack_from("<Q", packet, at)[0]
            at += 8
            found.append(struct.unpack_from(f"{min(size, _MOST)}s", packet, at)[0].decode())
            at += size
        else:
            raise struct.error(f"type {kind}")
    return found
