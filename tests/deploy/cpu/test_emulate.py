"""Networks for 64-bit ARM under qemu: the same bits as here."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.cli import main
from bnn_compiler.deploy.cpu import emulate as emulation
from bnn_compiler.deploy.cpu.emulate import emulate
from bnn_compiler.errors import ArtifactError, BuildError, InputError
from tests import edge


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """(folder artifact for the Cortex-A72, model, input)."""
    edge.qemu(), edge.zig()
    torch.manual_seed(0)
    model, x = edge.binary_net(40), torch.randn(2, 3, 9, 9)
    zoo.randomize(model, x)
    path = tmp_path_factory.mktemp("arm") / "net"
    bnn_compiler.compile(model, (x,), target="cortex-a72", output=path, as_folder=True)
    return path, model, x


@pytest.mark.parametrize(
    ("channels", "kernel", "shape", "target"),
    [
        (1, 3, (1, 3, 5, 5), "aarch64"),
        (3, 3, (3, 3, 6, 7), "cortex-a53"),
        (33, 3, (1, 3, 1, 1), "cortex-a76"),
        (100, 1, (3, 3, 1, 1), "neoverse-n1"),
        (100, 3, (3, 3, 4, 4), "aarch64-android"),
    ],
)
def test_odd_shapes(channels, kernel, shape, target, tmp_path):
    edge.qemu(), edge.zig()
    model, x = edge.binary_net(channels, kernel=kernel), torch.randn(shape)
    zoo.randomize(model, x)
    here = bnn_compiler.compile(model, (x,), output=tmp_path / "here.bnn")
    bnn_compiler.compile(model, (x,), target=target, output=tmp_path / "there.bnn")
    for threads in (1, 4):
        (result,) = emulate(tmp_path / "there.bnn", [x.numpy()], threads=threads)
        np.testing.assert_array_equal(result, here.run(x).numpy())


def test_byte_images(tmp_path):
    edge.qemu(), edge.zig()
    torch.manual_seed(0)
    model, x = edge.binary_net(20), np.arange(3 * 49, dtype=np.uint8).reshape(1, 3, 7, 7)
    zoo.randomize(model, torch.randn(x.shape))
    options = {"input_dtype": "uint8", "mean": (0.5,), "std": (0.25,)}
    example = (torch.zeros(x.shape),)
    here = bnn_compiler.compile(model, example, output=tmp_path / "here.bnn", **options)
    there = tmp_path / "there.bnn"
    bnn_compiler.compile(model, example, target="cortex-a72", output=there, **options)
    np.testing.assert_array_equal(emulate(there, [x])[0], here.run(x))


def test_a_reordered_stem(tmp_path):
    edge.qemu(), edge.zig()
    model, x = edge.binary_net(20), torch.randn(1, 3, 16, 16)
    model[0] = nn.Conv2d(3, 20, 7, 2, 3)
    zoo.randomize(model, x)
    there, options = tmp_path / "there.bnn", {"allow_reorder": True}
    here = bnn_compiler.compile(model, (x,), output=tmp_path / "here.bnn", **options)
    assert here.manifest["contract"]["reorder"]
    bnn_compiler.compile(model, (x,), target="cortex-a72", output=there, **options)
    np.testing.assert_array_equal(emulate(there, [x.numpy()])[0], here.run(x).numpy())


def test_int8_around_padding(tmp_path):
    """``sdot`` on bytes less 128, where padding is byte 0."""
    edge.qemu(), edge.zig()
    torch.manual_seed(0)
    model, x = edge.binary_net(20), torch.randn(2, 3, 11, 11)
    model[0] = nn.Sequential(
        nn.Conv2d(3, 20, 7, 2, 3), nn.ReLU(), nn.Conv2d(20, 20, 3, padding=1, groups=20)
    )
    zoo.randomize(model, x)
    there, options = tmp_path / "there.bnn", {"rest": "int8", "calibration": x, "check": False}
    here = bnn_compiler.compile(model, (x[:1],), output=tmp_path / "here.bnn", **options)
    assert len(here.manifest["int8"]) == 3
    bnn_compiler.compile(model, (x[:1],), target="cortex-a76", output=there, **options)
    np.testing.assert_array_equal(emulate(there, [x[1:].numpy()])[0], here.run(x[1:]).numpy())


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = edge.binary_net(8)[:5]

    def forward(self, x, y):
        z = self.body(x)
        return z, z + y


def test_several_inputs_and_outputs(tmp_path):
    edge.qemu(), edge.zig()
    model, inputs = TwoInputs().eval(), (torch.randn(1, 3, 4, 4), torch.randn(1, 8, 4, 4))
    here = bnn_compiler.compile(model, inputs, output=tmp_path / "here.bnn")
    bnn_compiler.compile(model, inputs, target="aarch64", output=tmp_path / "there.bnn")
    results = emulate(tmp_path / "there.bnn", [x.numpy() for x in inputs])
    for result, wanted in zip(results, here.run(*inputs), strict=True):
        np.testing.assert_array_equal(result, wanted.numpy())


class Labels(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = edge.binary_net(8)[:5]

    def forward(self, x):
        y = self.body(x)
        return y.argmax(1), y > 0.01, y.amax((2, 3)).topk(2)[1].int()


def test_integer_outputs(tmp_path):
    """Under emulation, and by the C program beside the library."""
    edge.qemu(), edge.zig()
    model, x = Labels().eval(), torch.randn(2, 3, 4, 4)
    there = tmp_path / "there"
    bnn_compiler.compile(model, (x,), target="aarch64", output=there, as_folder=True)
    results = emulate(there, [x.numpy()])
    for result, wanted in zip(results, model(x), strict=True):
        assert result.dtype == wanted.numpy().dtype
        np.testing.assert_array_equal(result, wanted.numpy())
    x.numpy().tofile(there / "x.raw")
    edge.shell(
        edge.build_command(there), there, PATH=edge.commands(tmp_path, python3=edge.python())
    )
    shown = edge.shell(f"{edge.qemu()} ./example x.raw a.raw b.raw c.raw", there)
    assert shown.splitlines()[2] == f"out2: {' '.join(map(str, results[2].ravel()))}"
    for name, result in zip("abc", results, strict=True):
        raw = np.fromfile(there / f"{name}.raw", result.dtype)
        np.testing.assert_array_equal(raw, result.ravel())


def test_verify_checks_each_layer_under_emulation(arm):
    path, model, x = arm
    with emulation.load(path) as artifact:
        report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok and len(report.kernels) == len(artifact.manifest["steps"])


def test_command_line(arm, tmp_path, capsys):
    path, model, x = arm
    np.save(tmp_path / "x.npy", x.numpy())
    arguments = ["run", str(path), "--input", str(tmp_path / "x.npy")]
    arguments += ["--output", str(tmp_path / "y.npy")]
    assert main(arguments) == 2
    assert "--emulate" in capsys.readouterr().err
    assert main([*arguments, "--emulate", "--threads", "2"]) == 0
    expected = emulate(path, [x.numpy()])[0]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "net.pt2")
    assert main(["verify", str(path), str(tmp_path / "net.pt2"), "--emulate"]) == 0


def test_a_network_without_threads(tmp_path):
    edge.qemu(), edge.zig()
    torch.manual_seed(0)
    model, x = edge.binary_net(16), torch.randn(1, 3, 4, 4)
    path = tmp_path / "net.bnn"
    bnn_compiler.compile(model, (x,), target="aarch64", output=path, threads=False)
    with emulation.load(path) as artifact:
        assert artifact.set_threads(4) == 1
        with pytest.raises(InputError):
            artifact.set_threads(0)
        with pytest.raises(ArtifactError, match="mean nothing"):
            artifact.profile(x)


def test_says_what_is_missing(arm, small_artifact, tmp_path, monkeypatch):
    path, _, x = arm
    with pytest.raises(ArtifactError, match="without --emulate"):
        emulation.load(small_artifact[0])
    monkeypatch.setattr("bnn_compiler.deploy.cpu.link._zig", lambda: None)
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if "gcc" in name else which(name))
    with (
        emulation.load(path) as artifact,
        pytest.raises(BuildError, match=r"bnn_compiler\[cross\]"),
    ):
        artifact.run(x)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="apt-get install qemu-user"):
        emulation.load(path)


def test_every_arm_target_can_be_linked():
    arm = [t for t in map(targets.load, targets.names()) if t.arch == "aarch64"]
    assert len(arm) >= 5 and all(t.link.zig for t in arm)
