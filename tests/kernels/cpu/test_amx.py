"""Kernels on AMX tiles: their bits, with the instructions replaced by what they mean, and code.

Those marked amx run the instructions themselves, where a CPU has them.
"""

import platform
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler import families, zoo
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device import measure
from bnn_compiler.errors import ArtifactError
from bnn_compiler.kernels.cpu import amx, codegen
from bnn_compiler.kernels.cpu.amx_binary import AmxBinary, AmxPoint
from bnn_compiler.kernels.cpu.amx_int8 import AmxInt8, AmxInt8Point
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.tune import harness
from tests.kernels import kernel
from tests.kernels.cpu import tiles

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="tiles are x86's")
AMX, DEVICE = tiles.AMX, tiles.without_amx()
BINARY, INT8 = AmxBinary(), AmxInt8()

SIGNS = {
    "3x3": {"channels": 64, "size": 8, "outputs": 48},
    "odd channels": {"channels": 33, "size": 7, "outputs": 51},
    "three channels": {"channels": 3, "size": 6, "outputs": 100},
    "one channel": {"channels": 1, "size": 5, "outputs": 33},
    "one pixel": {"channels": 100, "size": 1, "outputs": 64},
    "1x1": {"channels": 256, "size": 4, "outputs": 128, "kernel": 1, "pad": 0},
    "strided": {"channels": 96, "size": 9, "outputs": 32, "stride": 2},
    "batch of three": {"channels": 32, "size": 17, "outputs": 16, "batch": 3},
    "padded by +1": {"channels": 64, "size": 6, "outputs": 32, "pad_value": 1},
    "padded by -1": {"channels": 40, "size": 6, "outputs": 64, "pad_value": -1},
    "dilated, unequal": {
        "channels": 64,
        "size": 7,
        "outputs": 16,
        "pad": (2, 0, 1, 3),
        "dilation": 2,
    },
}
BYTES = {
    "1x1 of bytes": {"channels": 64, "size": 8, "outputs": 48, "kernel": 1, "pad": 0},
    "stem": {"channels": 3, "size": 13, "outputs": 20, "kernel": 7, "stride": 2, "pad": 3},
    "odd bytes": {"channels": 33, "size": 17, "outputs": 16, "batch": 3},
    "dilated bytes": {"channels": 16, "size": 5, "outputs": 16, "pad": 2, "dilation": 2},
    "one pixel of bytes": {"channels": 100, "size": 1, "outputs": 33},
}
SHAPES = {
    **{name: kernel.task(**shape) for name, shape in SIGNS.items()},
    **{name: kernel.task(**shape, dtype="uint8") for name, shape in BYTES.items()},
}


def family(task):
    return BINARY if task.work.is_binary else INT8


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    return tiles.emulated(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return tiles.real(tmp_path_factory.mktemp("tiles"))


def check(found, name, folder, count):
    """The rule, that without its overlap or with bits for weights, and ``count`` at random."""
    one = SHAPES[name]
    space = list(family(one).points(one, AMX.cpu))
    rule = family(one).rule(one, AMX.cpu)
    assert rule in space and len(set(space)) == len(space)
    others = np.random.default_rng(len(name)).permutation(len(space))[:count]
    for number, point in enumerate(
        {rule, replace(rule, overlap=False), *(space[i] for i in others)}
    ):
        (folder / str(number)).mkdir()
        found.check(one, point, folder / str(number))


@pytest.mark.parametrize("name", SHAPES)
def test_schedules_are_exact(name, emulated, tmp_path):
    check(emulated, name, tmp_path, len(name) % 2)


@pytest.mark.amx
@pytest.mark.parametrize("name", SHAPES)
def test_instructions_are_exact(name, real, tmp_path):
    check(real, name, tmp_path, 8)


def test_what_has_no_tiles_is_left_to_others():
    one, image = kernel.task(64, 8, 64), kernel.task(64, 8, 64, dtype="uint8")
    assert BINARY.fits(one, DEVICE.cpu) and INT8.fits(image, DEVICE.cpu)
    assert not INT8.fits(one, DEVICE.cpu) and not BINARY.fits(image, DEVICE.cpu)
    assert not BINARY.fits(one, targets.load("x86-avx512-vpopcnt").cpu)
    assert not BINARY.fits(kernel.task(64, 8, 64, groups=2), DEVICE.cpu)
    assert not INT8.fits(kernel.task(64, 8, 64, groups=64, dtype="uint8"), DEVICE.cpu)
    assert not BINARY.fits(kernel.task(1 << 15, 3, 16), DEVICE.cpu), "more than a thread's stack"


def test_rules_are_tiles_for_bytes_and_popcount_for_signs():
    """Until somebody measures both, popcount has the records."""
    assert families.rule(kernel.task(64, 8, 64), AMX.hardware).family == "popcount"
    assert families.rule(kernel.task(64, 8, 64, dtype="uint8"), AMX.hardware).family == "amx_int8"


def test_an_epilogue_overlaps_where_there_is_another_block():
    few, many = kernel.task(64, 4, 16), kernel.task(64, 28, 64)
    assert BINARY.rule(many, AMX.cpu).overlap and not BINARY.rule(few, AMX.cpu).overlap
    for one in (few, many):
        for point in BINARY.points(one, AMX.cpu):
            assert not point.overlap or amx.blocks_of(one.work, point) > 1
    assert {p.overlap for p in BINARY.points(many, AMX.cpu)} == {False, True}


def test_weights_are_bits_where_every_bit_is_a_tap_and_the_rule_if_bytes_leave_l2():
    small, large = kernel.task(256, 14, 256), kernel.task(512, 7, 512)
    assert {p.expand for p in BINARY.points(small, AMX.cpu)} == {False, True}
    assert BINARY.rule(large, AMX.cpu).expand and not BINARY.rule(small, AMX.cpu).expand
    odd = kernel.task(96, 8, 32, kernel=1)
    assert not any(p.expand for p in BINARY.points(odd, AMX.cpu)), "runs end inside a tile"


@pytest.mark.parametrize("sizes", [(64, 8, 40), (60, 8, 64)], ids=["outputs", "channels"])
def test_weights_stay_bytes_where_some_are_nothing(sizes):
    """By a record of the whole task too."""
    part, whole = kernel.task(*sizes), kernel.task(*sizes).whole()
    point = next(p for p in BINARY.points(whole, AMX.cpu) if p.expand)
    assert point in BINARY.points(part, AMX.cpu)
    for task, dtype in ((whole, "uint64"), (part, "int8")):
        assert str(families.function(task, point).params[1].ty.dtype) == dtype


def test_code_of_weights_as_bits():
    task, point = kernel.task(512, 7, 64), AmxPoint(7, 4, 1, 8, overlap=True, expand=True)
    function = codegen.with_strides(families.function(task, point), {}, "kernel")
    assert [str(p.ty.dtype) for p in function.params[:2]] == ["uint64"] * 2
    text = codegen.build({"kernel": function}, AMX).inspect_source("s")
    step = text[text.rindex("tilezero") :].split("tdpbssd")[0]
    assert "vpblendmb" in step and "vpshufb" not in step, "a step's weights are made before it"
    assert len(re.findall(r"andq\s+\$-64", text)) == 3, "rows of tiles are whole cache lines"


def test_sums_and_operands_fit_eight_tiles():
    for point in BINARY.points(kernel.task(512, 56, 192), AMX.cpu):
        assert point.rows * point.vectors <= 4 and 1 <= point.pixels <= 16
        assert point.height % point.rows == 0


@pytest.mark.parametrize(
    ("task", "point", "product"),
    [
        (kernel.task(64, 56, 64), AmxPoint(14, 2, 2, 8), "tdpbssd"),
        (kernel.task(64, 56, 64, dtype="uint8"), AmxInt8Point(14, 2, 2, 8), "tdpbusd"),
    ],
)
def test_code_of_two_by_two_tiles(task, point, product):
    function = codegen.with_strides(families.function(task, point), {}, "kernel")
    text = codegen.build({"kernel": function}, AMX).inspect_source("s")
    assert not re.search("call.*bnn_tile", text), "an instruction is a call"
    steps = text.count(product) // 4
    assert steps in (1, 3, 9), "steps that are unrolled"
    assert text.count("tdpb") == text.count("tileloadd") == 4 * steps
    assert text.count("tilezero") == text.count("tilestored") == 4
    assert len(re.findall(r"andq\s+\$-64", text)) == 2, "rows of tiles are whole cache lines"
    if task.work.is_binary:
        assert "vpblendmb" in text, "bits become bytes in vectors"


@pytest.mark.parametrize("channels", [64, 512])
def test_code_of_an_epilogue_between_tiles(channels):
    """Pixels of the epilogue stand in line with the steps of the next block's sums."""
    task, point = kernel.task(channels, 14, 64), AmxPoint(14, 2, 2, 8, overlap=True)
    function = codegen.with_strides(families.function(task, point), {}, "kernel")
    text = codegen.build({"kernel": function}, AMX).inspect_source("s")
    # The last sums that are zeroed are those of all blocks but the first.
    begins, stored = text.rindex("tilezero"), text.rindex("tilestored")
    loop = text[begins:stored]
    steps, pixels = 9 * channels // 64, 28
    found = [len(re.findall(r"vcmp\w+ps", part)) for part in loop.split("tdpbssd")]
    assert any(found) and not found[0] and not found[-1], "an epilogue between products"
    for compares in filter(None, found):
        assert compares == 2 * -(-pixels // steps), "two vectors of a few pixels"
    assert text[:begins].count("tilestored") == 4, "the first block's sums are alone"


def test_other_targets_have_no_tiles():
    one = kernel.task(64, 8, 64)
    for name in targets.names("llvm"):
        found = {p.family for p in families.space(one, targets.load(name).hardware)}
        assert ("amx" in found) == (name == "x86-amx")


@pytest.fixture
def only_tiles(monkeypatch):
    """Binary convolutions have no other kernels, and no records; the emulation needs no flags."""
    monkeypatch.delitem(targets._NEEDS, ("x86_64", "tiles"))
    left = [f for f in families.FAMILIES["llvm"] if f.name not in ("popcount", "table")]
    monkeypatch.setitem(families.FAMILIES, "llvm", tuple(left))
    monkeypatch.setattr(Schedules, "load", staticmethod(lambda t, path=None: Schedules(t)))


@pytest.fixture
def network(tmp_path):
    """A network's artifact by target, a file of one with tiles by name, and an image."""
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

    def compiled(target, as_folder=False):
        path = tmp_path / f"net-{target.rpartition('/')[2]}"
        options = {"output": path, "target": target, "rest": "int8", "calibration": [x]}
        options["check"] = False
        return bnn_compiler.compile(model, (x,), name="net", as_folder=as_folder, **options)

    return compiled, str(tmp_path / "tiles.toml"), x


def on_tiles(artifact):
    """Steps whose kernels use tiles."""
    found = [s.schedule["point"].get("family") for s in artifact.description.steps if s.schedule]
    assert {"amx", "amx_int8"} <= set(found)
    return sum(f in ("amx", "amx_int8") for f in found)


def test_a_network_configures_tiles_once_a_step_and_thread(
    network, emulated, only_tiles, request, monkeypatch
):
    compiled, device, x = network
    state, results = emulated.library, []
    with compiled(device) as artifact:
        for threads in (1, 3):
            artifact.set_threads(threads)
            state.tiles_configured(), state.tiles_released()
            results.append(artifact.run(x).numpy())
            used = state.tiles_configured()
            assert used == state.tiles_released() and emulated.in_use() == 0
            most = threads * on_tiles(artifact)
            assert on_tiles(artifact) <= used <= most
        state.tiles_refuse(-22)
        request.addfinalizer(lambda: state.tiles_refuse(0))
        with pytest.raises(ArtifactError, match=r"not let this process use AMX.*x86-avx512-vpopc"):
            artifact.run(x)
    monkeypatch.undo()
    with compiled("x86-64-v3") as other:
        wanted = other.run(x).numpy()
    for found in results:
        np.testing.assert_array_equal(found, wanted)


def test_a_library_has_the_instructions_and_asks_first(network, only_tiles):
    compiled, _, x = network
    with compiled("x86-amx", as_folder=True) as artifact:
        assert on_tiles(artifact) == 4
        folder = artifact.path
        if not set(AMX.features) <= bnn_compiler.runtime.cpu.features():
            with pytest.raises(ArtifactError, match=r"amx_int8.*lacks or its system does not"):
                artifact.run(x)
    assert "or -3 where the system refuses AMX" in (folder / "net.h").read_text()
    code = (folder / "net.so").read_bytes()
    asked, configured, released = "2310 0000", "c4e2 7849 00", "c4e2 7849 c0"
    for found in (asked, configured, released):
        assert bytes.fromhex(found) in code
    # VEX.128.F2.0F38.W0 5E and VEX.128.NP.0F38.W0 5E, of any tiles.
    assert re.search(rb"\xc4\xe2[\x03-\x7b]\x5e", code)


@pytest.mark.amx
def test_a_network_leaves_no_tiles_configured(network, real, only_tiles, monkeypatch):
    compiled, _, x = network
    with compiled("x86-amx") as artifact:
        on_tiles(artifact)
        results = []
        for threads in (1, 3):
            artifact.set_threads(threads)
            results.append(artifact.run(x).numpy())
            assert real.in_use() == 0
    monkeypatch.undo()
    with compiled("x86-64-v4") as other:
        wanted = other.run(x).numpy()
    for found in results:
        np.testing.assert_array_equal(found, wanted)


ONCE = measure.Plan(repeats=1, burst=0.0, limit=60)


@pytest.mark.parametrize("dtype", ["uint32", "uint8"])
def test_trials_have_the_results_of_other_kernels(dtype, tmp_path, monkeypatch):
    """Whatever is in halos and in channels that do not exist."""
    monkeypatch.setattr("bnn_compiler.deploy.cpu.link.TILES", tiles.MEANING)
    monkeypatch.setattr("bnn_compiler.deploy.cpu.trial.has_tiles", lambda _: True)
    one, digests = kernel.task(33, 7, 51, dtype=dtype), set()
    for number, found in enumerate(families.fitting(one, DEVICE.hardware)):
        point = found.rule(one, DEVICE.hardware)
        stem = tmp_path / str(number)
        built = harness.build(families.function(one, point), one, point, DEVICE, stem)
        command = [str(built.path), str(built.constants), *ONCE.arguments()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        outcome = measure.read(done.returncode, done.stdout)
        assert outcome.found, (done.stderr, outcome.error)
        digests.add(outcome.found.digest)
    assert number >= 1 and len(digests) == 1
