"""Kernels on AMX tiles: their bits, with the instructions replaced by what they mean, and code."""

import platform
import re
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler import families, zoo
from bnn_compiler import target as targets
from bnn_compiler.device import measure
from bnn_compiler.errors import ArtifactError
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cpu.amx_binary import AmxBinary, AmxPoint
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.tune import harness
from tests.kernels import kernel
from tests.kernels.cpu import tiles

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="calls instead of tile instructions are for x86"
)
AMX, DEVICE = targets.load("x86-amx"), tiles.emulated()
FAMILY = AmxBinary()

SHAPES = {
    "3x3": {"channels": 64, "size": 8, "outputs": 48},
    "odd channels": {"channels": 33, "size": 7, "outputs": 51},
    "three channels": {"channels": 3, "size": 6, "outputs": 100},
    "one channel": {"channels": 1, "size": 5, "outputs": 33},
    "one pixel": {"channels": 100, "size": 1, "outputs": 64},
    "1x1": {"channels": 256, "size": 4, "outputs": 128, "kernel": 1, "pad": 0},
    "1x1 of one word": {"channels": 20, "size": 5, "outputs": 16, "kernel": 1, "pad": 0},
    "strided": {"channels": 96, "size": 9, "outputs": 64, "stride": 2},
    "batch of three": {"channels": 64, "size": 5, "outputs": 32, "batch": 3},
    "wide": {"channels": 512, "size": 3, "outputs": 32},
    "unequal tiles": {"channels": 32, "size": 17, "outputs": 48, "batch": 2},
    "padded by +1": {"channels": 64, "size": 6, "outputs": 64, "pad_value": 1},
    "padded by -1": {"channels": 40, "size": 6, "outputs": 64, "pad_value": -1},
    "dilated": {"channels": 64, "size": 8, "outputs": 64, "pad": 2, "dilation": 2},
    "unequal padding": {"channels": 64, "size": 7, "outputs": 64, "pad": (0, 2, 1, 0)},
}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The emulated tiles."""
    return tiles.library(tmp_path_factory.mktemp("tiles"))


@pytest.mark.parametrize("shape", SHAPES, ids=list(SHAPES))
def test_schedules_are_exact(shape, state, tmp_path):
    one = kernel.task(**SHAPES[shape])
    space = list(FAMILY.points(one, DEVICE.cpu))
    rule = FAMILY.rule(one, DEVICE.cpu)
    assert rule in space and len(set(space)) == len(space)
    given = kernel.inputs(one)
    wanted = kernel.expected(one, *given)
    # Of every other shape a schedule at random too.
    others = np.random.default_rng(len(shape)).permutation(len(space))[: len(shape) % 2]
    for number, point in enumerate([rule, *(space[i] for i in others)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = tiles.run(state, one, point, folder, given)
        for ours, right in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, right, err_msg=str(point))


def test_what_has_no_tiles_is_left_to_others():
    one = kernel.task(64, 8, 64)
    assert FAMILY.fits(one, DEVICE.cpu)
    assert not FAMILY.fits(one, targets.load("x86-avx512-vpopcnt").cpu)
    assert not FAMILY.fits(kernel.task(64, 8, 64, groups=2), DEVICE.cpu)
    assert not FAMILY.fits(kernel.task(64, 8, 64, dtype="float32"), DEVICE.cpu)
    assert not FAMILY.fits(kernel.task(1 << 15, 3, 16), DEVICE.cpu), "more than a thread's stack"


def test_sums_and_operands_fit_eight_tiles():
    for point in FAMILY.points(kernel.task(512, 56, 192), AMX.cpu):
        assert point.rows * point.vectors <= 4 and 1 <= point.pixels <= 16
        assert point.height % point.rows == 0


def assembly_of(task, point):
    function = codegen.with_strides(families.function(task, point), {}, "kernel")
    return codegen.build({"kernel": function}, AMX).inspect_source("s")


def test_code_of_two_by_two_tiles():
    text = assembly_of(kernel.task(64, 56, 64), AmxPoint(14, 2, 2, 8))
    assert not re.search("call.*bnn_tile", text), "an instruction is a call"
    steps = text.count("tdpbssd") // 4
    assert steps in (1, 3, 9), "steps that are unrolled"
    assert text.count("tdpbssd") == text.count("tileloadd") == 4 * steps
    assert text.count("tilezero") == text.count("tilestored") == 4
    assert "vpblendmb" in text, "bits become bytes in vectors"
    assert len(re.findall(r"andq\s+\$-64", text)) == 2, "rows of tiles are whole cache lines"


def test_other_targets_have_no_tiles():
    one = kernel.task(64, 8, 64)
    for name in targets.names("llvm"):
        device = targets.load(name)
        found = {p.family for p in families.space(one, device.hardware)}
        assert ("amx" in found) == (name == "x86-amx")


@pytest.fixture
def only_tiles(monkeypatch):
    """Binary convolutions have no other kernels."""
    left = [f for f in families.FAMILIES["llvm"] if f.name not in ("popcount", "table")]
    monkeypatch.setitem(families.FAMILIES, "llvm", tuple(left))


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A network's artifact by target file, and an image of it."""
    text = (targets.DATA / "targets" / "x86-64-v3.toml").read_text()
    (tmp_path / "tiles.toml").write_text(text.replace("[hardware]", "[hardware]\ntiles = true"))
    layers: list[nn.Module] = []
    for conv in (
        nn.Conv2d(3, 20, 3, padding=1),
        nn.Conv2d(20, 24, 3, padding=1, stride=2),
        BinaryConv2d(24, 40, 3, padding=1),
        BinaryConv2d(40, 24, 1),
    ):
        before = [Sign()] if isinstance(conv, BinaryConv2d) else [nn.ReLU()]
        layers += [*before, conv, nn.BatchNorm2d(len(conv.weight))]
    model, x = nn.Sequential(*layers).eval(), torch.randn(1, 3, 18, 18)
    zoo.randomize(model, x)

    def compiled(target):
        path = tmp_path / f"{target.rpartition('/')[2]}.bnn"
        options = {"output": path, "target": target, "rest": "int8", "calibration": [x]}
        return bnn_compiler.compile(model, (x,), **options)

    return compiled, str(tmp_path / "tiles.toml"), x


def test_a_network_configures_tiles_once_a_step_and_thread(network, state, only_tiles, request):
    compiled, device, x = network
    with compiled(device) as artifact:
        steps = artifact.description.steps
        families_used = [s.schedule["point"].get("family") for s in steps if s.schedule]
        tiled = sum(f in ("amx", "amx_int8") for f in families_used)
        assert {"amx", "amx_int8"} <= set(families_used) and tiled == 4
        results = []
        for threads in (1, 3):
            artifact.set_threads(threads)
            state.tiles_configured(), state.tiles_released()
            results.append(artifact.run(x).numpy())
            used = state.tiles_configured()
            assert used == state.tiles_released() and state.tiles_in_use() == 0
            assert tiled <= used <= threads * tiled
            if threads == 1:
                assert used == tiled
        state.tiles_refuse(-22)
        request.addfinalizer(lambda: state.tiles_refuse(0))
        with pytest.raises(ArtifactError, match=r"not let this process use AMX.*x86-avx512-vpopc"):
            artifact.run(x)
    request.getfixturevalue("monkeypatch").undo()
    with compiled("x86-64-v3") as other:
        wanted = other.run(x).numpy()
    for found in results:
        np.testing.assert_array_equal(found, wanted)


ONCE = measure.Plan(repeats=1, burst=0.0, limit=60)


def test_trials_have_the_results_of_other_kernels(tmp_path, monkeypatch):
    """Whatever is in halos and in channels that do not exist."""
    monkeypatch.setattr(harness.backend.cpu.link, "TILES", tiles.SOURCE)
    monkeypatch.setattr("bnn_compiler.deploy.cpu.trial.has_tiles", lambda _: True)
    one = kernel.task(33, 7, 51)
    found = set()
    for number, point in enumerate((FAMILY.rule(one, DEVICE.cpu), families.rule(one, DEVICE.cpu))):
        stem = tmp_path / str(number)
        built = harness.build(families.function(one, point), one, point, DEVICE, stem)
        command = [str(built.path), str(built.constants), *ONCE.arguments()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        outcome = measure.read(done.returncode, done.stdout)
        assert outcome.found, (done.stderr, outcome.error)
        found.add(outcome.found.digest)
    assert len(found) == 1
