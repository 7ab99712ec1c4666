"""Programs of this folder for a board: its server, and what makes TVM's own server run programs."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bnn_compiler.deploy.cpu import link
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.deploy.cpu.trial import executable
from bnn_compiler.errors import DeviceError
from bnn_compiler.files import check_writable
from bnn_compiler.target import Target

HERE = Path(__file__).parent
#: Files of the server of a board.
SERVER = ("server.c", "greet.c", "secret.c", "hmac.c", "work.c", "session.c", "tracker.c")


def server(target: Target, output: Path) -> None:
    """The small RPC server of a board as one static executable at ``output``.

    Raises BuildError if nothing here can link for ``target``, DeviceError if ``output`` cannot be
    written.
    """
    output = output.absolute()
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    tools = link.toolchain(target.arch, target.link)
    try:
        check_writable(output)
        executable(tools, partial, [HERE / name for name in SERVER], static=True, small=True)
        partial.replace(output)
    except OSError as e:
        raise DeviceError(f"cannot write {output}: {e}") from e
    finally:
        with suppress(OSError):
            partial.unlink()


def launcher(tools: Toolchain) -> bytes:
    """The library that makes TVM's own server run programs (launch.c)."""
    with tempfile.TemporaryDirectory(prefix="bnnc-device-") as name:
        folder = Path(name)
        link.run([*tools.compile, "-c", str(HERE / "launch.c"), "-o", "launch.o"], folder)
        # The process that loads it has a C library already, and not always the one linked for.
        link.run([*tools.library, "-nostdlib", "-o", "launch.so", "launch.o"], folder)
        return (folder / "launch.so").read_bytes()
