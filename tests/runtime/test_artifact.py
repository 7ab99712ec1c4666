import subprocess
import sys
import threading

import numpy as np
import torch

import bnn_compiler


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
