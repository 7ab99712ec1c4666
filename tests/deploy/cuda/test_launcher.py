"""What is written of a network: its tables, and the driver's calls as cuda.h has them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bnn_compiler.deploy.cpu import link
from bnn_compiler.deploy.cuda import abi, bundle, launcher
from bnn_compiler.kernels.cuda.device_code import DeviceCode, Launch
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.plan.program import Argument, Buffer, Program, Step
from bnn_compiler.runtime import cuda

_PTX = """\
//
.version 9.0
.target sm_90
.address_size 64
.visible .entry first(
        .param .u64 first_param_0
)
{
        griddepcontrol.wait;
        ret;
}
.func helper() { griddepcontrol.wait; ret; }
.visible .entry first_too()
{
        ret;
}
"""


def test_a_kernel_that_waits_itself_may_start_early():
    assert launcher.waiting(_PTX) == {"first"}
    assert launcher.waiting("") == set()


@pytest.mark.parametrize(
    ("images", "ptx", "words"),
    [
        (("sm_90",), _PTX, "sm_90, and by PTX for sm_90 and later"),
        (("sm_80", "sm_86"), "", "sm_80 and sm_86"),
        (("sm_90a",), _PTX.replace("sm_90", "sm_90a"), "sm_90a"),
    ],
)
def test_what_it_says_of_gpus(images, ptx, words):
    code = DeviceCode("", dict.fromkeys(images, b""), ptx, {})
    assert launcher.described(code) == words
    assert list(launcher.image_labels(code).values())[-1] == (
        launcher.ptx_version(ptx) if ptx else images[-1]
    )


def program():
    image = Buffer(0, "input", "x", Layout((1, 3, 4, 4), "float32", dense=True))
    inside = Buffer(1, "arena", "s", Layout((1, 4, 4, 40), "uint32", (1, 1, 1, 1)), 1, offset=128)
    zeros = Buffer(2, "arena", "z", Layout((1, 4, 4, 40), "uint32", (1, 1, 1, 1)), 0, offset=768)
    result = Buffer(3, "output", "y", Layout((1, 5, 1, 1), "float32", dense=True), shape=(1, 5))
    first = [
        Argument(buffer=image),
        Argument(weights=64, size=9),
        Argument(buffer=inside, interior=True),
    ]
    second = [
        Argument(buffer=inside),
        Argument(buffer=zeros, interior=True),
        Argument(buffer=result),
    ]
    steps = [
        Step("one", "bnn.conv2d", "k0", first, [image], [inside]),
        Step("two", "bnn.conv2d", "k1", second, [inside], [zeros, result]),
    ]
    return Program([image], [result], [image, inside, zeros, result], steps, bytes(128), 2048)


def code(*orders):
    launches = {
        f"k{i}": Launch(f"k{i}", (1, 2, 3), (32, 1, 1), 0, order) for i, order in enumerate(orders)
    }
    return DeviceCode("", {"sm_90a": b"", "sm_80": b""}, _PTX, launches)


def test_the_tables_of_a_network():
    text = launcher.source(program(), "net", code((2, 0, 1), (1, 2, 0)), "00" * 32)
    tables = dict(
        re.findall(r"^static const \w+ ?\w* (\w+)\[\] = \{\n(.*?)\n\};", text, re.M | re.S)
    )
    rows = {name: [r.strip().rstrip(",") for r in v.split("\n")] for name, v in tables.items()}
    # Pixels of 2 words, rows of 6: the inside begins 7 pixels behind the halo.
    assert rows["arguments"] == [
        "{IN_ARENA, 184}, {IN_INPUT, 0}, {IN_WEIGHTS, 64}",
        "{IN_ARENA, 824}, {IN_OUTPUT, 0}, {IN_ARENA, 128}",
    ]
    assert rows["steps"] == ["{0, 0, 3} /* one */", "{1, 3, 3} /* two */"]
    # Zeros are there from the beginning.
    assert rows["fills"] == ["{128, 36, 2, 4294967295u, 255u}"]
    assert rows["images"] == [
        "{net_cubin_sm_80, 80, 0, 0}",
        "{net_cubin_sm_90a, 90, 0, 1}",
        "{net_ptx, 90, 1, 0}",
    ]
    assert rows["tensors"] == ['{"x", 192, 1}', '{"y", 20, 1}']
    assert "copies[] = {2048u, 2304u};" in text and "MEMORY_BYTES 2560ull" in text


def test_python_knows_every_function():
    assert set(cuda._PROTOTYPES) | {"info"} == set(abi.EXPORTS)
    assert all(f"{{name}}_{s}(" in abi.HEADER for s in abi.EXPORTS if s != "info")


_COMPARE = """\
#define BNN_CUDA_H
#include "driver.h"
#define SAME(name, arguments) \\
  _Static_assert(__builtin_types_compatible_p(__typeof__(&name), __typeof__(cu.name)), #name);
BNN_DRIVER_CALLS(SAME)
"""
_OURS = """\
#include <stdio.h>
#include "driver.h"
#define SHOW(what) printf("%s %ld\\n", #what, (long)(what));
int main(void) {{
{lines}
  return (int)need_driver() + fail(0, "%s", "") + checked(0, "");
}}
"""


def test_prototypes_and_numbers_are_those_of_cuda_h(tmp_path):
    nvcc = shutil.which("nvcc")
    folders = [Path(nvcc).resolve().parents[1] / "include"] if nvcc else []
    folders += [Path("/usr/local/cuda/include")]
    found = next((f for f in folders if (f / "cuda.h").is_file()), None)
    if found is None:
        pytest.skip("no cuda.h")
    header = (bundle.RUNTIME / "driver.h").read_text()
    names = re.findall(r"^  (CU\w+) = -?\d+,$", header, re.M)
    assert len(names) > 20
    layout = ["sizeof(CUlaunchConfig)", "sizeof(CUlaunchAttribute)"]
    layout += [f"offsetof(CUlaunchConfig, {m})" for m in ("hStream", "attrs", "numAttrs")]
    layout += ["offsetof(CUlaunchAttribute, value.programmaticStreamSerializationAllowed)"]
    lines = "\n".join(f"  SHOW({n})" for n in [*names, *layout])
    (tmp_path / "ours.c").write_text(_OURS.format(lines=lines))
    (tmp_path / "compare.c").write_text(_COMPARE)
    flags = [*link.compiler(), "-std=gnu11", f"-I{bundle.RUNTIME}", f"-I{found}"]
    link.run([*flags, "-Wno-unused", "-fsyntax-only", "compare.c"], tmp_path)
    shown = []
    for name, extra in (("ours", []), ("theirs", ["-DBNN_CUDA_H"])):
        link.run([*flags, *extra, "-o", name, "ours.c", "-ldl", "-pthread"], tmp_path)
        shown.append(subprocess.run([tmp_path / name], capture_output=True, check=False).stdout)
    assert shown[0] == shown[1] and len(shown[0].splitlines()) == len(names) + len(layout)
