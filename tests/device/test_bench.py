import pytest

import bnn_compiler
from bnn_compiler.device.bench import bench
from bnn_compiler.errors import ArtifactError, DeviceError, InputError


def test_an_artifact_on_a_board(small_artifact, native, serve):
    path, _, _ = small_artifact
    board = serve(native, "here")
    for threads in (1, 2):
        found = bench(path, f"rpc://127.0.0.1:{board.port}/here", threads=threads, repeat=5)
        assert 0 < found["min_ms"] <= found["median_ms"]


def test_clear_errors(small_artifact, native, serve, tmp_path, qemu):
    path, model, x = small_artifact
    board = serve(native, "here")
    address = f"rpc://127.0.0.1:{board.port}/here"
    with pytest.raises(InputError, match="repeat 0"):
        bench(path, address, repeat=0)
    with pytest.raises(ArtifactError, match="no artifact"):
        bench(tmp_path / "none.bnn", address)
    other = tmp_path / "arm.bnn"
    bnn_compiler.compile(model, (x,), target="cortex-a72", output=other).close()
    with pytest.raises(DeviceError, match=r"cannot run programs.*programs are for aarch64"):
        bench(other, address)
