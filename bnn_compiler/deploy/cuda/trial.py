"""A kernel for a GPU alone, as what trial_program.py times: machine code, launch and constants."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from bnn_compiler.deploy.cpu.trial import FILLS, TrialProgram
from bnn_compiler.deploy.cuda import launcher
from bnn_compiler.kernels.cuda import codegen, early
from bnn_compiler.kernels.cuda.device_code import DeviceCode
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Target

#: The program, the same for every kernel.
SOURCE = Path(__file__).with_name("trial_program.py")


def kernel(
    function: tirx.PrimFunc,
    name: str,
    constants: Sequence[NDArray[Any]],
    outputs: int,
    channels: tuple[int, int],
    target: Target,
    stem: Path,
) -> TrialProgram:
    """``stem``.run, which times a kernel on inputs from a seed, and ``stem``.bin, what it reads.

    See Backend.trial. Raises BuildError if nvcc fails.
    """
    # Kernels of a kit are told apart by name in a debugger.
    symbol = stem.name
    fixed = early.with_constants(function, range(1, 1 + len(constants)))
    code = codegen.build({symbol: fixed}, target)
    values = [np.ascontiguousarray(v).tobytes() for v in constants]
    image = code.images[f"sm_{target.gpu.sm}"]
    described = {
        "name": name,
        "image": len(image),
        **_launch(code, symbol),
        "buffers": _buffers(function, len(constants), outputs, channels),
    }
    built = TrialProgram(stem.with_suffix(".run"))
    line = json.dumps(described).encode() + b"\n"
    built.constants.write_bytes(b"".join([line, image, *values]))
    shutil.copy(SOURCE, built.path)
    built.path.chmod(0o755)
    return built


def _launch(code: DeviceCode, symbol: str) -> dict[str, Any]:
    """How the kernel is started."""
    launch = code.launches[symbol]
    return {
        "symbol": launch.symbol,
        "grid": launch.grid,
        "block": launch.block,
        "shared": launch.shared,
        "order": launch.order,
        "early": launch.symbol in launcher.waiting(code.ptx),
    }


def _buffers(
    function: tirx.PrimFunc, constants: int, outputs: int, channels: tuple[int, int]
) -> list[dict[str, Any]]:
    """Size and contents of each parameter; "real" are a pixel's bytes, ones where a channel is.

    What families compute of channels that are not there differs.
    """
    found = []
    count = len(function.params)
    for i, parameter in enumerate(function.params):
        dtype, shape = str(parameter.ty.dtype), [int(e) for e in parameter.ty.shape]
        fill, real = FILLS.get(dtype, "BITS"), b"\xff"
        if 1 <= i <= constants:
            fill = "CONSTANT"
        elif i >= count - outputs:
            fill, real = "OUTPUT", _real(dtype, shape[-1], channels[1])
        elif i == 0 and fill == "BITS":
            real = _real(dtype, shape[-1], channels[0])
        size = np.dtype(dtype).itemsize * math.prod(shape)
        found.append({"fill": fill, "bytes": size, "real": real.hex()})
    return found


def _real(dtype: str, stored: int, channels: int) -> bytes:
    """Ones in the first ``channels`` of a pixel of ``stored`` elements."""
    # Halves are stored as their bits.
    storage = Storage.FLOAT16 if dtype == "uint16" else Storage(dtype)
    bits = 8 * storage.itemsize // storage.channels
    return ((1 << channels * bits) - 1).to_bytes(stored * storage.itemsize, "little")
