"""What an artifact's library, archive and example are made of, for this machine and for ARM."""

import re
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.deploy.cpu import link
from bnn_compiler.errors import BuildError
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.target import Link
from tests import edge

LIBC = {"clock_gettime", "getpid", "memcpy", "memset"}
POOL = "cond_broadcast cond_init cond_wait create join mutex_init mutex_lock mutex_trylock"
POOL = {f"pthread_{name}" for name in [*POOL.split(), "mutex_unlock"]}
STRICT = "-std=c11 -Wall -Wextra -Wpedantic -Werror"


class Build:
    """A network compiled into a folder, what runs its programs, and how they are built."""

    def __init__(self, folder, target):
        self.target, self.folder = target, folder / "net"
        self.emulator = "" if target == "native" else f"{edge.qemu()} "
        self.path = edge.commands(folder, python3=edge.python())
        torch.manual_seed(0)
        self.x = torch.randn(2, 3, 8, 8)
        self.y = self.compile("net", edge.binary_net(24, outputs=9))
        self.command = edge.build_command(self.folder)

    def compile(self, name, model):
        """The network's result on this machine; the artifact goes into the folder."""
        zoo.randomize(model, self.x)
        folder = self.folder.with_name(name)
        options = {"target": self.target, "as_folder": True}
        bnn_compiler.compile(model, (self.x,), output=folder, **options)
        here = bnn_compiler.compile(model, (self.x,), output=folder.with_suffix(".bnn"))
        return here.run(self.x).numpy()

    def shell(self, command, folder):
        return edge.shell(command, folder, PATH=self.path)


@pytest.fixture(scope="module", params=["native", "cortex-a72"])
def build(request, tmp_path_factory):
    if request.param != "native":
        edge.qemu(), edge.zig()
    return Build(tmp_path_factory.mktemp("build"), request.param)


def undefined(path):
    """Symbols that no member of an archive or library defines."""
    options = ["-D"] if path.suffix == ".so" else []
    done = subprocess.run(
        [edge.tool("nm"), *options, path], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^\S* +([A-Za-z]) ([^@\n]+)", done.stdout, re.M)
    # What this machine's compiler puts into every library is weak; the linker makes the table.
    defined = {n for kind, n in found if kind not in "Uw"} | {"_GLOBAL_OFFSET_TABLE_"}
    return {n for kind, n in found if kind == "U"} - defined


def elf(path, *options):
    """What readelf says."""
    command = [edge.tool("readelf"), "-W", *options, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_example_builds_with_its_first_line_and_gives_the_same_bits(build):
    build.shell(build.command, build.folder)
    build.x.numpy().tofile(build.folder / "x.raw")
    said = build.shell(f"{build.emulator}./example x.raw y.raw", build.folder)
    y = np.fromfile(build.folder / "y.raw", np.float32).reshape(build.y.shape)
    np.testing.assert_array_equal(y, build.y)
    top = [int(c) for c in re.findall(r"class +(\d+)", said)]
    assert top == [int(c) for row in y for c in np.argsort(-row, kind="stable")[:5]]
    (build.folder / "x.raw").write_bytes(b"short")
    with pytest.raises(AssertionError, match="not of 1536 bytes"):
        build.shell(f"{build.emulator}./example x.raw", build.folder)


def test_needs_nothing_but_the_c_library(build):
    assert undefined(build.folder / "net.a") <= LIBC | POOL
    assert undefined(build.folder / "net.so") <= LIBC | POOL


def test_no_executable_stack_and_no_text_relocations(build):
    library = build.folder / "net.so"
    assert re.search(r"GNU_STACK.* RW +(0|0x\w+)$", elf(library, "-l"), re.M)
    dynamic = elf(library, "-d")
    assert "TEXTREL" not in dynamic
    assert set(re.findall(r"NEEDED.*\[(.*)\]", dynamic)) <= {"libc.so.6", "libpthread.so.0"}


def test_two_networks_in_one_program(build, tmp_path):
    wanted = build.compile("other", edge.binary_net(33, outputs=5))
    (tmp_path / "main.c").write_text("""
#include <stdio.h>
#include "net.h"
#include "other.h"
static float x[2 * 3 * 8 * 8], y[2 * 9], z[2 * 5];
static _Alignas(64) unsigned char a[NET_WORKSPACE_BYTES], b[OTHER_WORKSPACE_BYTES];
int main(void) {
  if (fread(x, sizeof x, 1, stdin) != 1 || net_set_threads(2) != 2) return 1;
  for (int i = 0; i < 3; ++i)
    if (net_run(x, y, a) || other_run(x, z, b)) return 1;
  return fwrite(y, sizeof y, 1, stdout) != 1 || fwrite(z, sizeof z, 1, stdout) != 1;
}
""")
    net, other = build.folder, build.folder.with_name("other")
    command = build.command.replace("example.c net.a", f"main.c {net}/net.a {other}/other.a")
    build.shell(f"{command} -I{net} -I{other} {STRICT}", tmp_path)
    build.x.numpy().tofile(tmp_path / "x.raw")
    build.shell(f"{build.emulator}./example < x.raw > y.raw", tmp_path)
    y, z = np.split(np.fromfile(tmp_path / "y.raw", np.float32), [2 * 9])
    np.testing.assert_array_equal(y.reshape(2, 9), build.y)
    np.testing.assert_array_equal(z.reshape(2, 5), wanted)


@pytest.mark.parametrize("target", ["native", "aarch64"])
@pytest.mark.parametrize("threads", [True, False])
def test_all_c_is_clean(target, threads, tmp_path, monkeypatch):
    if target != "native":
        edge.zig()
    monkeypatch.setattr(link, "_FLAGS", [*link._FLAGS, *STRICT.split()])
    model = nn.Sequential(Sign(), BinaryConv2d(3, 5, 1))
    x = torch.randn(1, 3, 4, 4)
    options = {"target": target, "as_folder": True, "threads": threads}
    bnn_compiler.compile(model, (x,), output=tmp_path / "net", **options)
    path = edge.commands(tmp_path, python3=edge.python())
    command = edge.build_command(tmp_path / "net")
    edge.shell(f"{command} {STRICT}", tmp_path / "net", PATH=path)
    assert ("-pthread" in command) == threads
    if not threads:
        assert undefined(tmp_path / "net/net.a") <= LIBC - {"getpid"}
        assert "always 1" in (tmp_path / "net/net.h").read_text()


def test_the_example_of_byte_images_and_a_dense_output(tmp_path):
    torch.manual_seed(0)
    model, x = edge.binary_net(8)[:5], np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    net = bnn_compiler.compile(
        model, (torch.zeros(x.shape),), input_dtype="uint8", output=tmp_path / "n", as_folder=True
    )
    x.tofile(tmp_path / "n/x.raw")
    edge.shell(edge.build_command(tmp_path / "n"), tmp_path / "n")
    said = edge.shell("./example x.raw y.raw", tmp_path / "n")
    y = net.run(x)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "n/y.raw", np.float32), y.ravel())
    assert f"512 values from {y.min():g} to {y.max():g}" in said


def test_a_library_for_android(tmp_path):
    edge.zig()
    model, x = nn.Sequential(Sign(), BinaryConv2d(3, 5, 3, padding=1)), torch.randn(1, 3, 4, 4)
    options = {"target": "aarch64-android", "as_folder": True}
    bnn_compiler.compile(model, (x,), output=tmp_path / "net", **options)
    library = tmp_path / "net/net.so"
    dynamic = elf(library, "-d")
    assert re.findall(r"NEEDED.*\[(.*)\]", dynamic) == ["libc.so"]
    assert re.findall(r"SONAME.*\[(.*)\]", dynamic) == ["libnet.so"]
    # Android 15 has pages of 16 KiB.
    aligned = re.findall(r"LOAD.* (0x\w+)$", elf(library, "-l"), re.M)
    assert aligned and not any(int(a, 16) % 0x4000 for a in aligned)
    assert undefined(library) <= LIBC | POOL


def test_the_target_can_name_a_cross_compiler(tmp_path):
    edge.qemu()
    compiler = tmp_path / "aarch64-cc"
    zig = " ".join(edge.zig())
    compiler.write_text(f'#!/bin/sh\nexec {zig} cc -target aarch64-linux-musl "$@"\n')
    compiler.chmod(0o755)
    text = (targets.DATA / "targets/aarch64.toml").read_text().partition("[link]")[0]
    (tmp_path / "board.toml").write_text(f'{text}[link]\ncompiler = ["{compiler}"]\n')
    model, x = nn.Sequential(Sign(), BinaryConv2d(3, 5, 1, scale=False)), torch.randn(1, 3, 4, 4)
    options = {"target": tmp_path / "board.toml", "as_folder": True}
    bnn_compiler.compile(model, (x,), output=tmp_path / "net", **options)
    assert str(compiler) in edge.build_command(tmp_path / "net")
    (y,) = bnn_compiler.emulate(tmp_path / "net", [x.numpy()])
    np.testing.assert_array_equal(y, model(x).detach().numpy())


def test_zig_replaces_a_missing_compiler(tmp_path, monkeypatch):
    edge.zig()
    monkeypatch.setenv("PATH", str(tmp_path))
    model, x = nn.Sequential(Sign(), BinaryConv2d(3, 5, 1, scale=False)), torch.randn(1, 3, 4, 4)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "net", as_folder=True)
    torch.testing.assert_close(net.run(x), model(x), rtol=0, atol=0)
    assert edge.build_command(tmp_path / "net").startswith("python3 -m ziglang cc ")


@pytest.mark.parametrize(
    ("arch", "table", "words"),
    [
        ("aarch64", Link(compiler=("absent-gcc",)), "no cross compiler 'absent-gcc'"),
        ("riscv64", Link(), r"needs a \[link\] table"),
    ],
)
def test_what_cannot_be_linked_is_said(arch, table, words):
    with pytest.raises(BuildError, match=words):
        link.toolchain(arch, table)


def test_birealnet18_is_small(tmp_path):
    edge.zig()
    model, x = zoo.birealnet18().eval(), torch.randn(1, 3, 224, 224)
    zoo.randomize(model, x)
    folder = tmp_path / "net"
    options = {"target": "cortex-a72", "as_folder": True}
    artifact = bnn_compiler.compile(model, (x,), output=folder, **options)
    path = edge.commands(tmp_path, python3=edge.python())
    edge.shell(edge.build_command(folder), folder, PATH=path)
    assert (folder / "example").stat().st_size <= 5.5e6
    assert artifact.manifest["code_bytes"] <= 64_000
