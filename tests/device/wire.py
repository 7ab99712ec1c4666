"""The server's protocol byte by byte, for tests that break it."""

import os
import socket
import struct

from bnn_compiler.device.secret import Secret

MAGIC, MISMATCH = 0xFF271, 0xFF273


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 20)


def greeting(words="client:here"):
    return struct.pack("<ii", MAGIC, len(words)) + words.encode()


def hello(port, words="client:here"):
    found = connect(port)
    found.sendall(greeting(words))
    return found


def receive(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def rest(sock):
    """All that comes until the end, however the connection ends."""
    data = b""
    try:
        while more := sock.recv(4096):
            data += more
    except ConnectionResetError:
        pass
    return data


def code(sock):
    return struct.unpack("<i", receive(sock, 4))[0]


def nonce(sock):
    """The server's, after its greeting."""
    assert code(sock) == MAGIC
    assert receive(sock, code(sock)) == b"server:here -secret"
    return receive(sock, 32)


def prove(sock, path, role=b"bnn-client"):
    """Answer the server's challenge; the two nonces."""
    theirs, mine = nonce(sock), os.urandom(32)
    sock.sendall(mine + Secret.read(path).proof(role, theirs, mine, "here"))
    return theirs, mine


def packet(number, body):
    return struct.pack("<Qi", 4 + len(body), number) + body


def text(words):
    data = words if isinstance(words, bytes) else words.encode()
    return struct.pack("<iQ", 8, len(data)) + data


def ask(name):
    return packet(9, struct.pack("<i", 1) + text(name))


def call(which, *values):
    return packet(3, struct.pack("<Qi", which, len(values)) + b"".join(values))


def upload(name, data):
    return call(2, text(name), struct.pack("<iQ", 9, len(data)) + data)


def launch(seconds, *command):
    return call(3, struct.pack("<iq", 1, seconds), *map(text, command))


INIT = packet(2, struct.pack("<Q", 5) + b"0.8.0" + struct.pack("<i", 0))
