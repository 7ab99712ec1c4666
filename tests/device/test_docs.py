"""The commands of docs/devices.md, as they stand, with a board under qemu."""

import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import torch

from bnn_compiler import cli
from bnn_compiler.cost import records
from bnn_compiler.tune import network
from tests.device.conftest import Board
from tests.test_cli import tiny

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"


def free_port():
    """A port that nobody has yet; the page names it to both sides."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Laboratory:
    """Runs the page's commands: bnnc in this process, scp and ssh with a folder for the board.

    The board is this machine, so a tunnel between equal ports is there already.
    """

    def __init__(self, board, tracker, qemu, registered):
        self.board, self.qemu, self.registered = board, qemu, registered
        ports = {"9190": tracker.split(":")[1], "9090": free_port(), "9091": free_port()}
        self.words = {**ports, "HOST": "127.0.0.1", "0.0.0.0": "127.0.0.1"}
        self.servers = []

    def run(self, line):
        for word, here in self.words.items():
            line = re.sub(rf"\b{re.escape(word)}\b", str(here), line)
        if line.startswith("("):
            subprocess.run(["bash", "-c", line], check=True)
            return
        words = shlex.split(line)
        getattr(self, words[0])(*words[1:])

    def bnnc(self, *arguments):
        if arguments[0] == "tune" and not {"--trials", "--import-results"} & set(arguments):
            arguments = (*arguments, "--trials", "2")
        assert cli.main([re.sub("^32$", "2", a) for a in arguments]) == 0

    def scp(self, *arguments):
        source, target = (a for a in arguments if a != "-p")
        remote = source.startswith("pi4:")
        path = self.board / source.removeprefix("pi4:") if remote else Path(source)
        shutil.copy(path, self.board if target == "pi4:" else target)

    def ssh(self, *arguments):
        tunnels = []
        while arguments[0] in ("-L", "-R"):
            tunnels.append(re.fullmatch(r"(\d+):127\.0\.0\.1:(\d+)", arguments[1]))
            assert tunnels[-1][1] == tunnels[-1][2]
            arguments = arguments[2:]
        name, *command = arguments
        assert name == "pi4"
        if command[-1] == "&":
            self.serve(command[:-1], {t[1] for t in tunnels})
            return
        environment = {**os.environ, "RUNNER": self.qemu}
        subprocess.run(*command, shell=True, check=True, cwd=self.board, env=environment)

    def serve(self, command, tunnels):
        """One way after the other: the board's server before is ended."""
        self.end()
        options = ["--run-with", self.qemu]
        if "--port" not in command:
            options += ["--port", *(tunnels or ["0"])]
        server = self.board / command[0]
        board = Board([self.qemu, str(server), *command[1:], *options], folder=self.board)
        self.servers.append(board)
        if "--tracker" in command:
            tracker = command[command.index("--tracker") + 1]
            self.registered(f"tracker://{tracker}/pi4")
        assert not tunnels or str(board.port) in tunnels

    def end(self):
        while self.servers:
            assert self.servers.pop().end() == 0


def test_every_command_of_the_page(tmp_path, monkeypatch, tracker, qemu, registered, capsys):
    # Worker processes start in the new folder, with a relative path to the package or none.
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    monkeypatch.chdir(tmp_path)
    # Not by XDG_CACHE_HOME: zig would build its C libraries again.
    monkeypatch.setattr(network.platformdirs, "user_cache_dir", lambda name: tmp_path / "cache")
    torch.export.save(torch.export.export(tiny().eval(), (torch.randn(1, 3, 6, 6),)), "net.pt2")
    (tmp_path / "board").mkdir()
    laboratory = Laboratory(tmp_path / "board", tracker, qemu, registered)
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.S)
    try:
        for line in "".join(blocks).splitlines():
            laboratory.run(line)
    finally:
        laboratory.end()
    words = capsys.readouterr().out
    assert re.search(r"median \d+\.\d+ ms, min \d+\.\d+ ms", words)
    assert records.read(Path("pi4.jsonl"))
    assert len(list((tmp_path / "cache").rglob("cortex-a72.*.trials.jsonl"))) == 3
    assert "net.bnn" in words and (tmp_path / "bnn-server").stat().st_size < 100_000
