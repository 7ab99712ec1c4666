"""What cannot be linked or written is one clear error, and leaves nothing."""

import pytest

from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.deploy.cpu.trial import executable
from bnn_compiler.device import program
from bnn_compiler.errors import BuildError, DeviceError
from tests.device.conftest import ARM


def test_a_missing_static_libc_has_a_hint(tmp_path):
    linker = tmp_path / "ld"
    linker.write_text(
        "#!/bin/sh\necho 'ld: cannot find -lc: No such file or directory' >&2\nexit 1\n"
    )
    linker.chmod(0o755)
    tools = Toolchain([], [], [], [str(linker)], [])
    with pytest.raises(BuildError, match=r"cannot find -lc[^\n]*\n.*install glibc-static"):
        executable(tools, tmp_path / "a", [], static=True)
    with pytest.raises(BuildError) as shared:
        executable(tools, tmp_path / "a", [], static=False)
    assert "glibc-static" not in str(shared.value)


def test_a_server_that_cannot_be_written(tmp_path, qemu):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="cannot write"):
        program.server(targets.load(ARM), tmp_path / "file" / "server")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
