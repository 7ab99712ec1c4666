"""A session's files and processes: within bounds, and gone with it."""

import os
import time
from pathlib import Path

import pytest

from bnn_compiler.device.client import BoardSession
from bnn_compiler.errors import DeviceError
from tests.device import wire
from tests.device.test_client import launcher


def session(board):
    return BoardSession("127.0.0.1", board.port, "here", launcher)


def gone(number):
    """Whether a process ends soon."""
    for _ in range(200):
        try:
            os.kill(number, 0)
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    "how",
    [
        "sleep 60 & echo $! > {path}",
        "setsid sleep 60 & echo $! > {path}",
        "setsid sh -c 'sleep 60 & echo $! > {path}' &",
    ],
)
def test_what_a_program_leaves_behind_is_killed(native, serve, tmp_path, how):
    board = serve(native, "here")
    one = session(board)
    path = tmp_path / "pid"
    start = how.format(path=path)
    code, words = one.run(["sh", "-c", f"({start}) >/dev/null 2>&1\nsleep 0.3; echo over"], 5)
    assert (code, words) == (0, "over\n")
    number = int(path.read_text())
    one.close()
    assert gone(number)
    session(board).close()


def test_only_the_sessions_processes_are_killed(native, serve):
    """A shell that started something, and then became the server."""
    shell = ("sh", "-c", 'sleep 60 >/dev/null & exec "$@"', "sh")
    board = serve(native, "here", prefix=shell)
    children = Path(f"/proc/{board.process.pid}/task/{board.process.pid}/children")
    (mine,) = children.read_text().split()
    one = session(board)
    one.run(["true"], 5)
    one.close()
    session(board).close()
    for _ in range(100):
        if children.read_text().split() == [mine]:
            break
        time.sleep(0.05)
    assert children.read_text().split() == [mine]


def test_folders_that_programs_made_are_removed(native, serve, tmp_path):
    """`serve` looks for litter when the board ends."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("data")
    board = serve(native, "here")
    one = session(board)
    make = f"mkdir -p a/b/c d && touch a/b/c/e d/.f && ln -s {kept} g && chmod 0 a/b d && mkfifo h"
    assert one.run(["sh", "-c", make], 5) == (0, "")
    one.close()
    session(board).close()
    assert (kept / "file").read_text() == "data", "links are not followed"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "../up",
        "/tmp/file",
        "a/b",
        "a\0b",
        "a b",
        "a\nb",
        "\xff",
        "x" * 129,
    ],
)
def test_names_stay_in_the_folder(native, serve, name):
    board = serve(native, "here")
    with wire.hello(board.port) as found:
        found.sendall(wire.INIT + wire.upload(name, b"data") + wire.call(1, wire.text(name)))
        found.sendall(wire.packet(1, b""))
        answer = wire.rest(found)
    assert answer.count(b"bad file name") == 2
    assert not [p for p in board.folder.rglob("*") if p.is_file()]


def test_an_upload_does_not_write_through_a_link(native, serve, tmp_path):
    board = serve(native, "here")
    other = tmp_path / "other"
    other.write_text("before")
    one = session(board)
    assert one.run(["ln", "-s", str(other), "file"], 5) == (0, "")
    assert one.run(["cat", one.put(b"data", "file")], 5) == (0, "data")
    assert other.read_text() == "before"
    one.close()


def test_sizes_are_bounded(native, serve):
    board = serve(native, "here")
    with wire.hello(board.port) as found:
        found.sendall(wire.INIT + ((1 << 27) + 1).to_bytes(8, "little"))
        assert b"a file has at most 128 MiB" in wire.rest(found)
    with wire.hello(board.port) as found:
        found.sendall(wire.INIT)
        whole = wire.upload("big", bytes((1 << 27) - 100))
        for _ in range(3):
            found.sendall(whole)
        found.sendall(wire.packet(1, b""))
        assert wire.rest(found).count(b"a session takes at most 256 MiB") == 1
    one = session(board)
    for i in range(64):
        one.put(b"", f"file{i}")
    with pytest.raises(DeviceError, match="at most 64 files"):
        one.put(b"", "one-more")
    one.close()


def test_a_full_disk_is_told_and_left(native, serve):
    """A limit of the shell's stands for it: writing fails in the middle."""
    limited = ("bash", "-c", 'ulimit -f 64; exec "$@"', "bash")
    board = serve(native, "here", prefix=limited)
    one = session(board)
    with pytest.raises(DeviceError, match="File too large"):
        one.put(bytes(1 << 20), "big")
    assert one.run(["ls"], 5) == (0, ""), "no half of a file"
    assert one.run(["cat", one.put(b"data", "small")], 5) == (0, "data")
    one.close()
    session(board).close()


def test_no_folder_for_a_session(native, serve):
    board = serve(native, "here")
    board.folder.rmdir()
    with pytest.raises(DeviceError, match="No such file or directory"):
        session(board)
    board.folder.mkdir()
    session(board).close()
