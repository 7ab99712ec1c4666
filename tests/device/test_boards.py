"""Several boards at once, some of which go away."""

import signal
import threading

import pytest

from bnn_compiler import target as targets
from bnn_compiler.device import boards
from bnn_compiler.device.address import Address
from bnn_compiler.device.boards import Boards
from bnn_compiler.device.measure import Plan
from bnn_compiler.errors import BuildError, DeviceError
from bnn_compiler.target import Link
from tests.device import programs

NATIVE = targets.load("native")


def machine(address):
    return Boards(Address.parse(address), NATIVE.arch, NATIVE.link)


def killer(folder, boards_there, once=False):
    """A program that ends the board it runs on, as if its power went."""
    for board in boards_there:
        (folder / f"{board.folder.name}.pid").write_text(str(board.process.pid))
    first = f"mkdir {folder}/once 2>/dev/null &&" if once else ""
    # A board is known by the folder its programs run in.
    kill = f'kill -KILL -$(cat {folder}/$(basename "$TMPDIR").pid)'
    return programs.script(folder, "killer", f"{first} {kill}\n{programs.GOOD}")


def test_lost_work_is_done_elsewhere(tracker, native, serve, registered, tmp_path):
    address = f"tracker://{tracker}/farm"
    both = [serve(native, "farm", "--tracker", tracker) for _ in range(2)]
    registered(address, 2)
    good = [programs.script(tmp_path, f"good{i}", programs.GOOD) for i in range(6)]
    found = {}
    machine(address).measure([killer(tmp_path, both, once=True), *good], Plan(), found.__setitem__)
    assert sorted(found) == list(range(7)) and all(o.found for o in found.values())
    assert sorted(b.end() for b in both) == [-signal.SIGKILL, 0], "one died, the other did its work"


def test_a_program_that_ends_every_board(tracker, native, serve, registered, tmp_path):
    address = f"tracker://{tracker}/fragile"
    all_three = [serve(native, "fragile", "--tracker", tracker) for _ in range(3)]
    registered(address, 3)
    found = {}
    with pytest.raises(DeviceError, match="was lost 3 times"):
        machine(address).measure([killer(tmp_path, all_three)], Plan(), found.__setitem__)
    assert not found


def test_a_board_without_tracker(native, serve, tmp_path, monkeypatch):
    board = serve(native, "alone")
    here = machine(f"rpc://127.0.0.1:{board.port}/alone")
    bad = programs.script(tmp_path, "bad", "kill -SEGV $$")
    good = programs.script(tmp_path, "good", programs.GOOD)
    found = {}
    here.measure([bad, good], Plan(), found.__setitem__)
    assert found[0].error == "crashed: SIGSEGV" and found[1].found.seconds == (0.5,)
    board.end(signal.SIGKILL)
    monkeypatch.setattr(boards, "_PAUSE", 0.01)
    with pytest.raises(DeviceError, match=rf"rpc://127.0.0.1:{board.port}/alone was lost 3 times"):
        here.measure([good], Plan(), found.__setitem__)


def test_a_board_without_power_is_noticed(native, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(boards, "_TRANSFER", 1)
    monkeypatch.setattr(boards, "_PAUSE", 0.01)
    board = serve(native, "frozen")
    here = machine(f"rpc://127.0.0.1:{board.port}/frozen")
    good = programs.script(tmp_path, "good", programs.GOOD)
    board.process.send_signal(signal.SIGSTOP)
    with pytest.raises(DeviceError, match="no answer in 1 s"):
        here.measure([good], Plan(limit=0), lambda *_: None)
    board.process.send_signal(signal.SIGCONT)


def test_programs_of_another_machine(native, serve, tmp_path, qemu):
    board = serve(native, "here")
    one = programs.built("cortex-a72", tmp_path)
    with pytest.raises(
        DeviceError, match=rf"127.0.0.1:{board.port}.*format.*programs are for {NATIVE.arch}"
    ):
        machine(f"rpc://127.0.0.1:{board.port}/here").measure([one], Plan(), lambda *_: None)


def test_no_linker_is_one_clear_error():
    with pytest.raises(BuildError, match="linking for riscv64"):
        Boards(Address.parse("rpc://127.0.0.1:1/k"), "riscv64", Link())


def test_a_farm_whose_only_board_restarts(tracker, native, serve, registered, tmp_path):
    address = f"tracker://{tracker}/single"
    first = serve(native, "single", "--tracker", tracker)
    registered(address, 1)
    farm = machine(address)
    first.end(signal.SIGKILL)
    registered(address, 0)
    again = threading.Timer(1.0, lambda: serve(native, "single", "--tracker", tracker))
    again.start()
    found = {}
    good = programs.script(tmp_path, "good", programs.GOOD)
    farm.measure([good], Plan(), found.__setitem__)
    again.join()
    assert found[0].found


def test_a_board_that_is_not_there(closed_port):
    with pytest.raises(DeviceError, match=f"no server answers at 127.0.0.1:{closed_port}"):
        machine(f"rpc://127.0.0.1:{closed_port}/k")
