"""What LLVM makes of the ARM kernels, read in their assembly."""

import subprocess

import numpy as np
import pytest

from benchmarks import assembly
from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.device import measure
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.tune import harness
from tests import edge
from tests.kernels import kernel

#: Channels, size, outputs, kernel: the 3x3 layers of ResNet-18 and 1x1 layers of ReActNet-A.
LAYERS = [
    (64, 56, 64, 3),
    (128, 28, 128, 3),
    (256, 14, 256, 3),
    (512, 7, 512, 3),
    (256, 14, 512, 1),
    (512, 14, 512, 1),
    (1024, 7, 1024, 1),
]
ARM = [n for n in targets.names() if targets.load(n).arch == "aarch64"]


def assembly_of(task, device, point=None):
    point = point or families.rule(task, device.hardware)
    function = codegen.with_strides(families.function(task, point), {}, "kernel")
    return codegen.build({"kernel": function}, device).inspect_source("s")


def count(body, name):
    return sum(line.split()[0] == name for line in body)


@pytest.mark.parametrize("name", ARM)
def test_inner_loops_are_near_ideal(name):
    device = targets.load(name)
    for channels, size, outputs, side in LAYERS:
        task = kernel.task(channels, size, outputs, kernel=side, pad=side // 2)
        point = families.rule(task, device.hardware)
        loops = assembly.innermost_loops(assembly_of(task, device, point))
        body = max(loops, key=lambda b: count(b, "cnt"))
        counted = count(body, "cnt")
        assert counted >= 32 and count(body, "eor") == count(body, "uadalp") == counted
        assert len(body) <= 1.15 * assembly.ideal(point, counted), (channels, size, point)
        assert not any("[sp" in line for line in body), "an accumulator was spilled"


def test_signs_are_packed_in_vectors():
    device = targets.load("aarch64")
    text = assembly_of(kernel.task(64, 8, 64), device)
    assert text.count("fcmge") >= 4 and "addv" in text


def test_first_layers_multiply_and_add_in_one():
    device = targets.load("aarch64")
    floats = assembly_of(kernel.task(64, 8, 64, kernel=1, pad=0, dtype="float32"), device)
    assert "fmla" in floats and "fmul" not in floats
    images = assembly_of(kernel.task(3, 16, 64, dtype="int16"), device)
    assert "smlal" in images


ONCE = measure.Plan(repeats=1, burst=0.0, limit=60)


@pytest.mark.parametrize(
    "shape",
    [
        {"channels": 64, "size": 6, "outputs": 64},
        {"channels": 96, "size": 7, "outputs": 51, "stride": 2},
        {"channels": 48, "size": 5, "outputs": 48, "groups": 16},
        {"channels": 128, "size": 4, "outputs": 64, "kernel": 1, "pad": 0},
        {"channels": 2048, "size": 3, "outputs": 16},
        {"channels": 3, "size": 12, "outputs": 51, "kernel": 7, "stride": 2, "dtype": "int16"},
        {"channels": 3, "size": 12, "outputs": 48, "kernel": 7, "stride": 2, "dtype": "float32"},
    ],
    ids=str,
)
def test_any_schedule_computes_what_x86_does(shape, tmp_path):
    same_bits(kernel.task(**shape), ("cortex-a72", "cortex-a53"), 2, tmp_path)


@pytest.mark.parametrize(
    "shape",
    [
        # Lanes of whole vectors, and bytes that lie anywhere.
        {"channels": 64, "size": 5, "outputs": 48, "kernel": 1},
        {"channels": 3, "size": 13, "outputs": 20, "kernel": 7, "stride": 2},
        {"channels": 20, "size": 5, "outputs": 20, "batch": 2},
        {"channels": 40, "size": 7, "outputs": 40, "groups": 40, "stride": 2},
        {"channels": 24, "size": 6, "outputs": 32, "groups": 4, "dilation": 2},
    ],
    ids=str,
)
def test_bytes_by_their_own_instructions(shape, tmp_path):
    """``smull`` and ``sadalp``, and ``sdot`` where the core has it.

    A halo holds byte 0 in a network (tests/deploy/cpu/test_emulate.py), but here whatever comes.
    """
    task = kernel.task(**shape, pad=0, dtype="uint8")
    same_bits(task, ("cortex-a72", "cortex-a76"), 1, tmp_path)


def same_bits(task, devices, others, folder):
    """The rule's schedule and ``others`` on ``devices`` have the bits of this machine's."""
    qemu = edge.qemu()
    edge.zig()

    def digest(device, point, prefix=(), static=False):
        function = families.function(task, point)
        built = harness.build(function, task, point, device, folder / "k", static=static)
        command = [*prefix, str(built.path), str(built.constants), *ONCE.arguments()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        outcome = measure.read(done.returncode, done.stdout)
        assert outcome.found, outcome.error
        return outcome.found.digest

    here = targets.load("native")
    wanted = digest(here, families.rule(task, here.hardware))
    for name in devices:
        device = targets.load(name)
        space = families.space(task, device.hardware)
        chosen = np.random.default_rng(1).permutation(len(space))[:others]
        points = [families.rule(task, device.hardware), *(space[i] for i in chosen)]
        for point in dict.fromkeys(points):
            assert digest(device, point, [qemu], static=True) == wanted, point
