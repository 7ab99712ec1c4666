"""The commands of docs/devices.md, as they stand, with a board under qemu."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import torch

from bnn_compiler import cli
from bnn_compiler.tune import network, records
from tests.device.conftest import Board
from tests.test_cli import tiny

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"


class Laboratory:
    """Runs the page's commands: bnnc in this process, scp and ssh with a folder for the board."""

    def __init__(self, board, tracker, qemu):
        self.board, self.tracker, self.qemu = board, tracker, qemu
        self.servers = []

    def run(self, line):
        words = shlex.split(line.replace("HOST:9190", self.tracker))
        getattr(self, words[0])(*words[1:])

    def bnnc(self, *arguments):
        if arguments[0] == "tune" and not {"--trials", "--import-results"} & set(arguments):
            arguments = (*arguments, "--trials", "2")
        assert cli.main([re.sub("^32$", "2", a) for a in arguments]) == 0

    def scp(self, source, target):
        remote = source.startswith("pi4:")
        path = self.board / source.removeprefix("pi4:") if remote else Path(source)
        shutil.copy(path, self.board if target == "pi4:" else target)

    def ssh(self, name, *command):
        assert name == "pi4"
        if command[-1] == "&":
            options = ("--bind", "127.0.0.1", "--port", "0", "--run-with", self.qemu)
            server = self.board / command[0]
            self.servers.append(Board([self.qemu, str(server), *command[1:-1], *options]))
            return
        environment = {**os.environ, "RUNNER": self.qemu}
        subprocess.run(*command, shell=True, check=True, cwd=self.board, env=environment)


def test_every_command_of_the_page(tmp_path, monkeypatch, tracker, qemu, capsys):
    # Worker processes start in the new folder, with a relative path to the package or none.
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    monkeypatch.chdir(tmp_path)
    # Not by XDG_CACHE_HOME: zig would build its C libraries again.
    monkeypatch.setattr(network.platformdirs, "user_cache_dir", lambda name: tmp_path / "cache")
    torch.export.save(torch.export.export(tiny().eval(), (torch.randn(1, 3, 6, 6),)), "net.pt2")
    (tmp_path / "board").mkdir()
    laboratory = Laboratory(tmp_path / "board", tracker, qemu)
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.S)
    try:
        for line in "".join(blocks).splitlines():
            laboratory.run(line)
    finally:
        for server in laboratory.servers:
            assert server.end() == 0
    words = capsys.readouterr().out
    assert re.search(r"median \d+\.\d+ ms, min \d+\.\d+ ms", words)
    assert records.read(Path("pi4.jsonl"))
    assert len(list((tmp_path / "cache").rglob("cortex-a72.*.trials.jsonl"))) == 2
    assert "net.bnn" in words and (tmp_path / "bnn-server").stat().st_size < 100_000
