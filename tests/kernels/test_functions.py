"""Functions in kernels: the reference's bits on every target, in vectors, calling nothing."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest
from tvm import te

from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu import abi, link
from bnn_compiler.kernels import functions
from bnn_compiler.kernels.cpu import codegen, schedule
from bnn_compiler.kernels.cuda import emulate
from bnn_compiler.kernels.cuda import schedule as cuda
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.ops.functions import FUNCTIONS, evaluate
from tests import edge
from tests.ops.test_functions import LIKE_TORCH, PRIMITIVES, sample

CASES = [(name, params) for name, params, _ in LIKE_TORCH]
CASES += [(n, ()) for n in PRIMITIVES]
CASES += [("power", (e,)) for e in (0.0, 3.0, -2.0, 0.5, 2.2, 65.0)]
SHAPE = (1, 22, 32, 64)

#: Runs every kernel on the same image and writes what they store.
MAIN = """
#include <stdint.h>
#include <stdio.h>
static float x[{size}] __attribute__((aligned(64))), y[{size}] __attribute__((aligned(64)));
{prototypes}
static int32_t (*const kernels[])(float *, float *, int32_t, int32_t) = {{{names}}};
int main(void) {{
  if (fread(x, 4, {size}, stdin) != {size}) return 1;
  for (unsigned i = 0; i < sizeof kernels / sizeof *kernels; ++i) {{
    if (kernels[i](x, y, 0, {extent})) return 2;
    if (fwrite(y, 4, {size}, stdout) != {size}) return 3;
  }}
  return 0;
}}
"""


def image():
    x = sample()
    return np.resize(x, np.prod(SHAPE))


def stages(name, params, shape=SHAPE):
    x = te.placeholder(shape, "float32", name="x")
    one = te.compute(shape, lambda *at: functions.call(name, x(*at), params), name="value")
    return Stages([x], one, outputs=[one])


def same_bits(found, wanted):
    both_nan = np.isnan(found) & np.isnan(wanted)
    return np.array_equal(
        np.where(both_nan, 0, found).view(np.uint32), np.where(both_nan, 0, wanted).view(np.uint32)
    )


@pytest.mark.parametrize("name", ["native", "cortex-a72"])
def test_cpus_compute_the_references_bits(name, tmp_path):
    device, prefix = targets.load(name), []
    if name != "native":
        prefix = [edge.qemu()]
        edge.zig()
    kernels = {f"k{i}": schedule.channelwise(stages(*case)) for i, case in enumerate(CASES)}
    extent = codegen.parallel_extent(kernels["k0"])
    named = {symbol: codegen.with_strides(k, {}, symbol) for symbol, k in kernels.items()}
    codegen.write_object(codegen.build(named, device), tmp_path / "kernels.o")
    text = MAIN.format(
        size=np.prod(SHAPE),
        prototypes="\n".join(f"int32_t {k}(float *, float *, int32_t, int32_t);" for k in named),
        names=", ".join(named),
        extent=extent,
    )
    (tmp_path / "main.c").write_text(text + abi.registration())
    here = name == "native"
    tools = link.toolchain(device.arch, device.link) if here else link.static_toolchain("aarch64")
    static = [] if here else ["-static"]
    link.run([*tools.program, *static, "-o", "kernels", "main.c", "kernels.o", "-lm"], tmp_path)
    x = image()
    done = subprocess.run(
        [*prefix, str(tmp_path / "kernels")], input=x.tobytes(), capture_output=True, check=True
    )
    results = np.frombuffer(done.stdout, np.float32).reshape(len(CASES), -1)
    for case, found in zip(CASES, results, strict=True):
        assert same_bits(found, evaluate(case[0], x, case[1])), case


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
def test_gpus_compute_the_references_bits(tmp_path):
    kernels = {f"k{i}": cuda.elements(stages(*case), 1, 64) for i, case in enumerate(CASES)}
    emulate.host_library(kernels, tmp_path / "kernels.so")
    loaded = ctypes.CDLL(str(tmp_path / "kernels.so"))
    x = image()
    for i, case in enumerate(CASES):
        y = np.zeros_like(x)
        pointers = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
        assert getattr(loaded, f"k{i}_cpu")(pointers) == 0
        assert same_bits(y, evaluate(case[0], x, case[1])), case


#: By architecture: a call of anything but what TVM's start-up record needs, arithmetic on scalars.
CALLS = {"x86_64": r"\bcallq?\s+\**([\w.]+)", "aarch64": r"\tblr?\s+([\w.]+)"}
SCALARS = {
    "x86_64": r"\bv?(?:fn?m(?:add|sub)\w*|add|sub|mul|div|sqrt|round\w*|cvt\w*)ss\b",
    "aarch64": r"\tf(?!mov)\w+\s+s\d",
}


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4", "aarch64"])
def test_machine_code_has_vectors_and_no_calls(name):
    device = targets.load(name)
    kernels = {
        f"k{i}": codegen.with_strides(
            schedule.channelwise(stages(*case, (1, 4, 4, 32))), {}, f"k{i}"
        )
        for i, case in enumerate(CASES)
    }
    text = codegen.build(kernels, device).inspect_source("s")
    called = set(re.findall(CALLS[device.arch], text))
    allowed = r"k\d+_compute_|TVMFFIEnvModRegisterSystemLibSymbol"
    assert all(re.fullmatch(allowed, c) for c in called), called
    assert not re.search(SCALARS[device.arch], text)
    assert "bnn_" not in re.sub(r"bnn_model_\w*", "", text), "a function was not inlined"
    assert len(re.findall(r"\.4s|ps\b", text)) > 20 * len(CASES)


def test_unknown_functions_are_an_error():
    with pytest.raises(KeyError):
        functions.call("cosine", te.placeholder((1,), "float32")[0])
    assert set(FUNCTIONS) == {name for name, _ in CASES}
