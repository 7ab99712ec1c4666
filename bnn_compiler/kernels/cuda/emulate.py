"""Kernels for a GPU run on a CPU: the CUDA source that is compiled for one, compiled by C++.

host.h says what CUDA's words mean: each thread of a block is a fiber; votes and barriers are
computed for the lanes together once all have come.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tvm import tirx

from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.kernels.cuda.device_code import Launch

_HOST = Path(__file__).with_name("host.h")
_OPTIONS = ("-std=c++17", "-O2", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-w")
_DYNAMIC = re.compile(r"extern __shared__ ([^;]*)\[\];")
#: What makes threads wait for each other.
_MEETS = re.compile(r"__sync|bnn_ballot|bnn_mma|__shfl|__activemask")


def host_library(functions: Mapping[str, tirx.PrimFunc], path: Path) -> None:
    """Write a shared library with ``int32_t SYMBOL_cpu(void **parameters)`` for each kernel.

    ``parameters`` are in the PrimFunc's order. It returns 0, or 1 if threads of a block wait for
    others that never come. Raises BuildError if there is no C++ compiler.
    """
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise BuildError("running a GPU's kernels on this CPU needs a C++ compiler: install g++")
    body, launches = codegen.kernels(functions, {"kind": "cuda", "arch": "sm_90"})
    # As large as any GPU has it.
    body = _DYNAMIC.sub(r"__shared__ \1[1 << 18];", body)
    calls = [_call(symbol, launch, body) for symbol, launch in launches.items()]
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        text = Path(folder) / "kernels.cc"
        text.write_text("\n".join([_HOST.read_text(), body, *calls]))
        built = text.with_suffix(".so")
        command = [compiler, *_OPTIONS, str(text), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{Path(compiler).name}: {done.stderr.strip()[:2000]}")
        partial = path.with_name(f".{path.name}.partial")
        shutil.copy(built, partial)
        partial.replace(path)


def _call(symbol: str, launch: Launch, body: str) -> str:
    """The C function that runs one kernel."""
    definition = body[body.rindex(f"{launch.symbol}(") :].split('extern "C"')[0]
    meets = "true" if _MEETS.search(definition) else "false"
    grid, block = (f"{{{', '.join(map(str, v))}}}" for v in (launch.grid, launch.block))
    order = ", ".join(map(str, launch.order))
    return (
        f'extern "C" int32_t {symbol}_cpu(void **parameters) {{\n'
        f"  static const int order[] = {{{order}}};\n"
        f"  return bnn::run({meets}, {grid}, {block}, {launch.symbol}, parameters, order);\n}}\n"
    )
