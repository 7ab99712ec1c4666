import json
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
import torch

import bnn_compiler
from bnn_compiler.errors import ArtifactError, InputError


@pytest.fixture
def members(small_artifact):
    with zipfile.ZipFile(small_artifact[0]) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def rewrite(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_runs_without_torch_and_tvm(small_artifact, tmp_path):
    path, _, x = small_artifact
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import sys, numpy as np; from bnn_compiler.runtime import load;"
        f"y = load({str(path)!r}).run(np.load({str(tmp_path / 'x.npy')!r}));"
        f"np.save({str(tmp_path / 'y.npy')!r}, y);"
        "assert not {'torch', 'tvm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = bnn_compiler.load(path).run(x).numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_importing_the_package_is_light():
    code = (
        "import sys, bnn_compiler;"
        "assert not {'torch', 'tvm', 'numpy'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((2, 3, 32, 32), np.float32), "batch size is fixed"),
        (np.zeros((1, 3, 32, 32), np.float64), "float32"),
        (np.full((1, 3, 32, 32), np.nan, np.float32), r"NaN at \[0, 0, 0, 0\]"),
        ([[1.0]], "list"),
    ],
)
def test_wrong_inputs(small_artifact, value, words):
    with pytest.raises(InputError, match=words):
        bnn_compiler.load(small_artifact[0]).run(value)


def test_concurrent_calls(small_artifact):
    path, _, x = small_artifact
    artifact = bnn_compiler.load(path)
    artifact.set_threads(2)
    expected, wrong = artifact.run(x), []

    def work():
        for _ in range(30):
            if not torch.equal(artifact.run(x), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_forked_child_starts_its_own_threads(small_artifact, tmp_path):
    path, _, x = small_artifact
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import os, sys, numpy as np; from bnn_compiler.runtime import load;"
        f"net = load({str(path)!r}); net.set_threads(3); x = np.load({str(tmp_path / 'x.npy')!r});"
        "y = net.run(x); child = os.fork() == 0;"
        "same = all((net.run(x) == y).all() for _ in range(3)); net.set_threads(2);"
        "same = same and (net.run(x) == y).all();"
        "sys.exit(not same if child else os.wait()[1] or not same)"
    )
    # Both processes end by exit(), which unloads the library.
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_profile_covers_every_step(small_artifact):
    path, _, x = small_artifact
    artifact = bnn_compiler.load(path)
    layers = artifact.profile(x, repeat=3)
    assert [p.name for p in layers] == [s["name"] for s in artifact.manifest["steps"]]
    assert all(p.seconds > 0 for p in layers)
    assert {p.schedule for p in layers} <= {"record", "model", "rule", "fixed"}
    sizes = {b["id"]: b["bytes"] for b in artifact.manifest["buffers"]}
    for layer, step in zip(layers, artifact.manifest["steps"], strict=True):
        assert layer.bytes_read == sum(sizes[i] for i in set(step["reads"]))
        assert layer.bytes_written == sum(sizes[i] for i in set(step["writes"]))
        assert layer.bytes == layer.bytes_read + layer.bytes_written + layer.bytes_weights


def test_damaged_artifacts(members, tmp_path):
    library = next(n for n in members if n.endswith(".so"))
    flipped = bytearray(members[library])
    flipped[len(flipped) // 2] ^= 1
    cases = {
        "flipped": ({**members, library: bytes(flipped)}, "damaged"),
        "missing": ({k: v for k, v in members.items() if k != library}, "is missing"),
        "foreign": ({"a.txt": b"hello"}, "no manifest"),
        "json": ({**members, "manifest.json": b"{"}, "damaged"),
        "path": ({**members, "../evil": b""}, "evil"),
    }
    manifest = json.loads(members["manifest.json"])
    for key, change, words in (
        ("version", {"format": 2}, "format 2"),
        ("types", {"steps": 3}, "'steps'"),
        ("arch", {"target": {"arch": "vax", "features": []}}, "is for vax"),
        ("cpu", {"target": {**manifest["target"], "features": ["avx9000"]}}, "avx9000"),
    ):
        changed = json.dumps({**manifest, **change}).encode()
        cases[key] = ({**members, "manifest.json": changed}, words)
    for name, (content, words) in cases.items():
        with pytest.raises(ArtifactError, match=words):
            bnn_compiler.load(rewrite(tmp_path / name, content))


def test_truncated_random_and_absent_files(small_artifact, tmp_path):
    data = small_artifact[0].read_bytes()
    for name, content in (("cut", data[: len(data) // 2]), ("random", b"\x00" * 99), ("no", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError):
            bnn_compiler.load(tmp_path / name)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "absent"):
        with pytest.raises(ArtifactError):
            bnn_compiler.load(path)


def test_another_cpus_artifact_can_be_described_but_not_run(members, small_artifact, tmp_path):
    manifest = json.loads(members["manifest.json"])
    manifest["target"]["features"] = ["avx9000"]
    content = {**members, "manifest.json": json.dumps(manifest).encode()}
    artifact = bnn_compiler.load(rewrite(tmp_path / "n", content), run_here=False)
    assert artifact.manifest["steps"] and artifact.size_bytes
    with pytest.raises(ArtifactError, match="avx9000"):
        artifact.run(small_artifact[2])
    artifact.close()
