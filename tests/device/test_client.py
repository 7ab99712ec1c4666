import socket
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

from bnn_compiler.deploy.cpu.link import toolchain
from bnn_compiler.device import client, program
from bnn_compiler.device.address import Address
from bnn_compiler.device.boards import Boards
from bnn_compiler.device.client import BoardSession, Lost, Tracker
from bnn_compiler.device.measure import DEFAULT, run_here
from bnn_compiler.errors import DeviceError
from bnn_compiler.target import load
from tests.device import conftest, programs

NATIVE = load("native")


def launcher():
    return program.launcher(toolchain(NATIVE.arch, NATIVE.link))


def test_addresses():
    assert Address.parse("tracker://lab.example:9190/rpi4") == Address(
        True, "lab.example", 9190, "rpi4"
    )
    assert str(Address.parse("rpc://10.0.0.7:9090/a.b-c_1")) == "rpc://10.0.0.7:9090/a.b-c_1"
    assert Address.parse("rpc://[::1]:9090/k").host == "::1"
    assert str(Address.parse("rpc://[::1]:9090/k")) == "rpc://[::1]:9090/k"
    for bad in (
        "lab:9190/rpi4",
        "rpc://lab/rpi4",
        "rpc://lab:0/k",
        "rpc://lab:1/",
        "tracker://:1/k",
    ):
        with pytest.raises(DeviceError, match=r"give tracker://HOST:PORT/KEY or rpc://"):
            Address.parse(bad)


def test_no_tracker(closed_port):
    answers = f"no tracker answers at 127.0.0.1:{closed_port}"
    words = f"{answers}.*rpc_tracker.*--port-end {closed_port + 1}"
    with pytest.raises(DeviceError, match=words):
        client.check(Address(True, "127.0.0.1", closed_port, "k"))


def test_something_else_than_a_tracker():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        threading.Thread(target=lambda: other.accept()[0].sendall(b"HTTP/1.1 400")).start()
        with pytest.raises(DeviceError, match="is not a TVM tracker"):
            Tracker(Address(True, "127.0.0.1", port, "k"))


def test_unknown_keys_are_told_with_the_known(tracker, native, serve, registered):
    serve(native, "here", "--tracker", tracker)
    registered(f"tracker://{tracker}/here")
    with pytest.raises(DeviceError, match=r"no device of key rpi4 .*\(there: here\)"):
        client.check(Address.parse(f"tracker://{tracker}/rpi4"))


def test_a_session_stores_files_and_runs_programs(native, serve):
    board = serve(native, "here")
    for _ in range(2):
        session = BoardSession("127.0.0.1", board.port, "here", launcher)
        data = bytes(range(256)) * 5000
        path = session.put(data, "data")
        assert session.run(["cmp", path, session.put(data, "again")], 5) == (0, "")
        assert session.run(["ls"], 5) == (0, "again\ndata\n"), "a session starts with nothing"
        script = session.put(b"#!/bin/sh\nkill -SEGV $$\n", "crash")
        assert session.run([script], 5) == (139, "")
        code, words = session.run(["./none"], 5)
        assert code == 126 and "No such file" in words
        assert session.run(["echo", "a b", "c"], 5) == (0, "a b c\n")
        with pytest.raises(DeviceError, match="bad file name"):
            session.put(b"", "../escape")
        session.close()
    session = BoardSession("127.0.0.1", board.port, "here", launcher)
    assert session.run(["sleep", "60"], 1) == (124, "")


def test_a_wrong_key_is_refused(native, serve, closed_port):
    board = serve(native, "here")
    with pytest.raises(Lost, match="cannot find server that matches key"):
        BoardSession("127.0.0.1", board.port, "other", launcher)
    with pytest.raises(Lost):
        BoardSession("127.0.0.1", closed_port, "here", launcher)


def test_a_farm_that_is_gone(tracker, monkeypatch):
    monkeypatch.setattr(client, "_PATIENCE", 1)
    address = Address.parse(f"tracker://{tracker}/nobody")
    with Tracker(address) as asked, pytest.raises(DeviceError, match=r"every device of .* is gone"):
        asked.request(lambda: False)
    with Tracker(address) as asked:
        assert asked.request(lambda: True) is None


def test_a_busy_farm_is_waited_for(tracker, native, serve, registered, monkeypatch, caplog):
    monkeypatch.setattr(client, "_PATIENCE", 1)
    serve(native, "busy", "--tracker", tracker)
    address = Address.parse(registered(f"tracker://{tracker}/busy"))
    with Tracker(address) as asked:
        session = BoardSession(*asked.request(lambda: False), launcher)
    threading.Timer(2.0, session.close).start()
    with Tracker(address) as asked:
        assert asked.request(lambda: False)[2].startswith("busy:")
    assert "waiting for a free device of tracker://" in caplog.text


def test_tvms_own_server(tracker, registered, every_target, tmp_path):
    """The server of a lab's farm: a library that runs programs is loaded into it."""
    host, port = tracker.split(":")
    code = (
        "from tvm.rpc import server as s;"
        f"s.PopenRPCServerState('127.0.0.1', {conftest.first_port()}, 65535,"
        f" tracker_addr=('{host}', {port}), key='stock')"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        address = Address.parse(registered(f"tracker://{tracker}/stock"))
        for _ in range(2):
            with Tracker(address) as asked:
                session = BoardSession(*asked.request(lambda: False), launcher)
            script = session.put(b"#!/bin/sh\necho $1; kill -SEGV $$\n", "crash")
            assert session.run([script, "words"], 5) == (139, "words\n")
            assert session.run(["sleep", "60"], 1) == (124, "")
            session.close()
        found = {}
        one = programs.built("native", tmp_path)
        Boards(address, NATIVE.arch, NATIVE.link).measure([one], DEFAULT, found.__setitem__)
        assert found[0].found.digest == run_here(one).found.digest
        arm = load(conftest.ARM)
        if find_spec("ziglang"):
            with pytest.raises(DeviceError, match="programs are for aarch64"):
                Boards(address, arm.arch, arm.link).measure([one], DEFAULT, found.__setitem__)
    finally:
        process.kill()
        process.wait()
