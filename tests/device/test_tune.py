"""A whole search on boards, one of which goes away in the middle."""

import signal

import pytest

from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.device.address import Address
from bnn_compiler.device.boards import Boards
from bnn_compiler.errors import DeviceError, ScheduleError, TargetError
from bnn_compiler.tune import tuner
from bnn_compiler.tune.journal import Journal
from bnn_compiler.tune.network import Subject, tune_network
from tests.device.conftest import ARM
from tests.kernels import kernel

DEVICE = targets.load(ARM)
TASKS = {kernel.task(32, 6, 32): 2, kernel.task(3, 6, 32, dtype="float32"): 1}


def boards(address):
    return Boards(Address.parse(address), DEVICE.arch, DEVICE.link)


def tune(address, folder, trials):
    paths = {"journal": folder / "j.jsonl", "schedules": folder / "s.jsonl"}
    return tuner.tune(TASKS, DEVICE, trials=trials, machine=boards(address), **paths)


def test_a_farm_that_loses_a_board(tracker, arm, qemu, serve, registered, tmp_path):
    address = f"tracker://{tracker}/arm"
    # The second board goes when it runs its first candidate.
    deadly = tmp_path / "deadly.sh"
    deadly.write_text(f'#!/bin/sh\nkill -KILL -$(cat {tmp_path}/pid)\nexec {qemu} "$@"\n')
    deadly.chmod(0o755)
    good = serve(arm, "arm", "--tracker", tracker, "--run-with", qemu, prefix=[qemu])
    bad = serve(arm, "arm", "--tracker", tracker, "--run-with", str(deadly), prefix=[qemu])
    (tmp_path / "pid").write_text(str(bad.process.pid))
    registered(address, 2)
    report = tune(address, tmp_path, 4)
    assert bad.end() == -signal.SIGKILL, "it took part"
    assert report.failed == 0 and report.trials == 8
    found = records.read(tmp_path / "s.jsonl")
    assert {r.task for r in found.values()} == set(TASKS)
    with Journal(tmp_path / "j.jsonl", DEVICE, f"device arm at {tracker}") as log:
        assert all(t.seconds for t in log.trials) and len({t.point for t in log.trials}) >= 4
    with Journal(tmp_path / "j.jsonl", DEVICE) as log:
        assert not log.trials, "trials of a board are not this machine's"
    # A search whose last board goes is resumed where it was.
    good.end(signal.SIGKILL)
    registered(address, 0)
    with pytest.raises(DeviceError, match="no device of key arm"):
        tune(address, tmp_path, 6)


def test_nothing_is_recorded_when_all_boards_are_lost(arm, qemu, serve, tmp_path, monkeypatch):
    monkeypatch.setattr("bnn_compiler.device.boards._PAUSE", 0.01)
    board = serve(arm, "arm", "--run-with", qemu, prefix=[qemu])
    machine = boards(f"rpc://127.0.0.1:{board.port}/arm")
    board.end(signal.SIGKILL)
    paths = {"journal": tmp_path / "j.jsonl", "schedules": tmp_path / "s.jsonl"}
    with pytest.raises(DeviceError, match="was lost 3 times"):
        tuner.tune(TASKS, DEVICE, trials=2, machine=machine, **paths)
    with Journal(tmp_path / "j.jsonl", DEVICE, machine.name) as log:
        assert not log.trials
    assert not (tmp_path / "s.jsonl").exists()


def test_another_machines_target_needs_a_device(small_artifact, tmp_path):
    _, model, x = small_artifact
    with pytest.raises(TargetError, match=r"--device.*--export-candidates"):
        tune_network(Subject.of(model, (x,), target=ARM))
    with Journal(tmp_path / "j", DEVICE) as log, pytest.raises(ScheduleError, match="no schedule"):
        tuner.conclude(TASKS, DEVICE, log, tmp_path / "s.jsonl")
