"""Every command of docs/ runs, in order; what needs a board runs under qemu.

A page becomes one shell script: Python blocks go to Python, blocks after a line that names a file
become that file.
"""

import re
import sys
from pathlib import Path

import pytest

from tests import edge

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:^`([\w.]+)`:\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)

#: Stands for Android's toolchain file where the NDK is not installed.
TOOLCHAIN = """
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER {zig})
"""


def script(page):
    """The page as a shell script."""
    parts = ["set -x"]
    for name, language, body in BLOCK.findall(page.read_text()):
        if name:
            parts.append(f"cat > {name} <<'END_OF_FILE'\n{body}END_OF_FILE")
        elif language == "python":
            parts.append(f"python3 - <<'END_OF_FILE'\n{body}END_OF_FILE")
        else:
            assert language == "bash", f"{page.name}: what is a block of {language}?"
            parts.append(body)
    return "\n".join(parts)


@pytest.fixture
def variables(tmp_path):
    """PATH with what the pages call, and a folder that is the board."""
    qemu, zig = edge.qemu(), " ".join(edge.zig())
    edge.tool("cmake"), edge.tool("make"), edge.tool("gcc")
    board = tmp_path / "board"
    board.mkdir()
    path = edge.commands(
        tmp_path,
        python3=edge.python(),
        bnnc=f'exec {sys.executable} -m bnn_compiler "$@"',
        pip='[ "$1" = install ]',
        scp=f'cp "${{@:1:$#-1}}" {board}',
        ssh=f'cd {board} && exec {qemu} "${{@:2}}"',
        # adb push FILES FOLDER; adb shell "cd FOLDER && PROGRAM ARGUMENTS"
        adb=f'case $1 in push) cp "${{@:2:$#-2}}" {board};;'
        f" shell) cd {board} && {qemu} ${{2#*&& }};; esac",
        zigcc=f'exec {zig} cc -target aarch64-linux-musl "$@"',
    )
    ndk = tmp_path / "ndk/build/cmake"
    ndk.mkdir(parents=True)
    (ndk / "android.toolchain.cmake").write_text(TOOLCHAIN.format(zig=tmp_path / "bin/zigcc"))
    return {"PATH": path, "PYTHONPATH": str(ROOT), "ANDROID_NDK": str(tmp_path / "ndk")}


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("raspberry-pi.md", r"(class +\d+  \S+\n){5}"),
        ("c-project.md", r"class (\d)\n(.*\n)*class \1\n(.*\n)*class \1\n"),
        ("android.md", r"(class +\d+  \S+\n){5}"),
    ],
)
def test_a_page_runs(page, shown, variables, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    assert re.search(shown, edge.shell(script(ROOT / "docs" / page), work, **variables))


def test_the_training_page_runs(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    bnnc = f'PYTHONPATH=.:$PYTHONPATH exec {sys.executable} -m bnn_compiler "$@"'
    path = edge.commands(tmp_path, python3=edge.python(), bnnc=bnnc)
    text = script(ROOT / "docs" / "training.md")
    shown = edge.shell(text, work, PATH=path, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    teacher, binary = map(float, re.search(r"teacher (\S+) binary (\S+)", shown).groups())
    assert teacher > 0.7
    assert binary > 0.5
    assert float(re.search(r"Bop (\S+) \[-1.0, 1.0\]", shown)[1]) > 0.6
    assert len(re.findall(r"inherited \S+ trained \S+", shown)) == 3
    assert (work / "net.bnn").is_file()


def test_every_page_is_tested_and_linked():
    readme = (ROOT / "README.md").read_text()
    tests = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme
        assert f'"{page.name}"' in tests
