"""Networks for a GPU that is not there: artifacts whose kernels the stub driver runs on the CPU.

Until a kernel's own code is executed (tests/kernels/cuda), those of the CPU's target stand in:
what is tested here is everything around kernels.
"""

import ctypes
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy.cpu import glue, link
from bnn_compiler.deploy.cuda import bundle
from bnn_compiler.deploy.manifest import manifest
from bnn_compiler.deploy.package import write_artifact
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cuda import codegen as cuda_codegen
from bnn_compiler.kernels.cuda import emulate
from bnn_compiler.kernels.cuda.device_code import DeviceCode, Launch
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from bnn_compiler.plan.program import plan_memory
from bnn_compiler.runtime.tensors import aligned

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
#: What a kernel takes.
MILLISECONDS = 0.5
#: PTX as far as anyone reads it here; the odd kernels wait themselves.
_PTX = ".version 9.0\n.target sm_{version}\n"
_ENTRY = ".visible .entry {symbol}(\n) {{\n{wait}ret;\n}}\n"


@dataclass(frozen=True)
class Built:
    """A folder of an artifact, its kernels for the stub, and what a CPU's library of them gives."""

    folder: Path

    @property
    def artifact(self):
        return self.folder / "net.bnn"


def driver(folder, *flags):
    """The stub as libcuda.so.1 in ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [str(HERE / "driver.c"), str(HERE / "stream.c")]
    command = [
        *link.compiler(),
        "-std=gnu11",
        "-O1",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libcuda.so.1",
    ]
    command += [*flags, *sources, "-o", "libcuda.so.1", "-ldl", "-pthread"]
    link.run(command, folder)
    return folder


def build(folder, model, examples, given=None, *, as_folder=False, shared=0, real=False, **options):
    """Compile ``model`` for a GPU of sm_90, with ``shared`` bytes of shared memory a block.

    ``given`` are the arrays to run it on, ``examples`` if there are none. ``real`` takes the GPU's
    kernels, executed by emulation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here, chosen = targets.native(), Options.of(**options)
    tools = link.toolchain(platform.machine(), here.link)
    network = Network.of(model.eval(), examples)
    graph = network.fused(chosen)
    schedules = Schedules.load(here, None)
    program, functions = realize.realize(plan.plan(graph), schedules, "net")
    program.workspace = plan_memory(program.steps, keep_halos=True)
    codegen.write_object(codegen.build(functions, here), folder / "kernels.o")
    inputs = [x.numpy() for x in examples] if given is None else given
    outputs = on_cpu(folder / "cpu", program, folder / "kernels.o", tools, inputs)
    if real:
        schedules = Schedules.load(targets.load("cuda-sm90"), None)
        chosen = chosen.on("cuda")
        program, functions = realize.realize(plan.plan(network.fused(chosen)), schedules, "net")
        code = device_code(program, cuda_codegen.kernels(functions, schedules.target.tvm)[1])
        emulate.host_library(functions, folder / "kernels.so")
    else:
        code = device_code(program, launches(program, shared))
        _kernels(folder, program)
    draft = manifest(program, "net", schedules, network, chosen, static_weights=as_folder)
    entry = replace(draft.target, name="cuda-sm90", kind="cuda", features=(), cpu="sm_90")
    draft = replace(draft, target=entry, threads=False)
    (folder / "made").mkdir()
    sealed, files = bundle.package(folder / "made", program, code, draft, tools)
    write_artifact(folder / "net.bnn", sealed, files, as_folder=as_folder)
    (folder / "launches.txt").write_text(table(program, code))
    arrays = {f"in{i}": v for i, v in enumerate(inputs)}
    np.savez(folder / "known.npz", **arrays, **{f"out{i}": v for i, v in enumerate(outputs)})
    return Built(folder)


def on_cpu(folder, program, kernels, tools, inputs):
    """What the CPU's library of the same kernels gives."""
    folder.mkdir()
    (folder / "net.h").write_text(glue.header(program, "net", threads=False))
    (folder / "net.c").write_text(glue.source(program, "net", 0, "00" * 32))
    (folder / "weights.bin").write_bytes(program.weights)
    (folder / "net.S").write_text(
        glue.weights_assembly("net", "weights.bin", 0, len(program.weights))
    )
    built, _ = link.build(folder, "net", [kernels], tools, threads=False, weights=True)
    outputs = [np.zeros(b.external, b.layout.dtype) for b in program.outputs]
    pointers = [(ctypes.c_void_p * len(v))(*(a.ctypes.data for a in v)) for v in (inputs, outputs)]
    workspace = aligned(program.workspace)
    run = ctypes.CDLL(str(built)).net_run_steps
    last = len(program.steps)
    assert run(*pointers, ctypes.c_void_p(workspace.ctypes.data), 0, last, None) == 0
    return outputs


def launches(program, shared=0):
    """Launches of any shape, that take the arguments backwards."""
    counts = {s.kernel: len(s.arguments) for s in program.steps}
    return {
        symbol: Launch(symbol, (i + 1, 2, 1), (32, 1 + i % 3, 1), shared, tuple(range(n))[::-1])
        for i, (symbol, n) in enumerate(counts.items())
    }


def device_code(program, launches):
    """Two "cubins" and PTX in which every other kernel waits for the one before."""
    entries = [
        _ENTRY.format(symbol=launch.symbol, wait="griddepcontrol.wait;\n" * (i % 2))
        for i, launch in enumerate(launches.values())
    ]
    images = {f"sm_{v}": f"CUBIN sm_{v}\n".encode() for v in (80, 90)}
    return DeviceCode("", images, "".join([_PTX.format(version=90), *entries]), launches)


def table(program, code):
    """What the stub has to know of each kernel."""
    rows = {}
    for step in program.steps:
        launch = code.launches[step.kernel]
        row = [
            launch.symbol,
            step.kernel,
            *launch.grid,
            *launch.block,
            launch.shared,
            MILLISECONDS,
            len(launch.order),
        ]
        for i, place in enumerate(launch.order):
            argument = step.arguments[i]
            buffer = argument.buffer
            if buffer is None:
                size, align = argument.size, 64
            else:
                size = buffer.layout.bytes - (buffer.layout.interior if argument.interior else 0)
                align = 4 if buffer.kind != "arena" or argument.interior else 64
            row += [place, size, align]
        rows[launch.symbol] = " ".join(map(str, row))
    return "\n".join(rows.values()) + "\n"


def _kernels(folder, program):
    """kernels.so: each symbol_cpu runs the CPU's kernel."""
    lines = [
        "#include <stdint.h>",
        "int TVMFFIEnvModRegisterSystemLibSymbol(const char *n, void *s) { return 0; }",
    ]
    for step in {s.kernel: s for s in program.steps}.values():
        count = len(step.arguments)
        taken = ", ".join(["void *"] * count)
        given = ", ".join(f"p[{i}]" for i in range(count))
        lines += [
            f"int32_t {step.kernel}({taken}, int32_t first, int32_t last);",
            f"int32_t {step.kernel}_cpu(void **p) {{",
            f"  return {step.kernel}({given}, 0, {step.iterations});\n}}",
        ]
    (folder / "kernels.c").write_text("\n".join(lines) + "\n")
    link.run(
        [*link.compiler(), "-shared", "-fPIC", "-O1", "kernels.c", "kernels.o", "-o", "kernels.so"],
        folder,
    )


def play(driver, built, scenario, **environment):
    """Run a function of scenarios.py in a process of its own that has the stub for a driver."""
    command = [sys.executable, str(HERE / "scenarios.py"), str(built.folder), scenario]
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        command,
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, (
        f"{scenario} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout
