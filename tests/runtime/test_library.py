"""What a loaded artifact holds is given back; it goes to other processes."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import bnn_compiler
from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime import library

MAPS, FILES, TASKS = Path("/proc/self/maps"), Path("/proc/self/fd"), Path("/proc/self/task")


def count(folder):
    return sum(1 for _ in folder.iterdir())


def held():
    """Mappings, open files and threads of this process, and its resident kB."""
    gc.collect()
    counts = [len(MAPS.read_text().splitlines()), count(FILES), count(TASKS)]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return counts, pages * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("closed", [True, False])
def test_loading_again_and_again_holds_nothing(small_artifact, threads, closed):
    path, _, x = small_artifact

    def use():
        net = bnn_compiler.load(path)
        net.set_threads(threads)
        net.run(x)
        if closed:
            net.close()

    for _ in range(20):
        use()
    before, memory = held()
    for _ in range(300 if closed and threads == 1 else 100):
        use()
    after, grown = held()
    assert all(b <= a + 3 for a, b in zip(before, after, strict=True)), (before, after)
    assert grown < memory + 2500


def test_many_at_once(small_artifact):
    """Each has code of its own: another number of threads does not reach the others."""
    path, _, x = small_artifact
    nets = [bnn_compiler.load(path) for _ in range(20)]
    assert nets[7].set_threads(3) == 3 and nets[8].threads == 1
    results = [net.run(x) for net in nets]
    assert all((r == results[0]).all() for r in results)
    for net in nets[::2]:
        net.close()
    assert (nets[7].run(x) == results[0]).all()


def test_a_closed_artifact_says_so(small_artifact):
    path, _, x = small_artifact
    with bnn_compiler.load(path) as net:
        session = bnn_compiler.runtime.Session(net)
        net.run(x)
    uses = (
        lambda: net.run(x),
        lambda: net.profile(x),
        lambda: net.set_threads(1),
        net.check_runs_here,
        lambda: session.run(0, 1),
        lambda: bnn_compiler.runtime.Session(net),
        lambda: pickle.dumps(net),
        lambda: copy.copy(net),
        lambda: copy.deepcopy(net),
    )
    for use in uses:
        with pytest.raises(ArtifactError, match="is closed; load it again"):
            use()
    net.close()
    assert net.manifest["steps"] and net.size_bytes


def test_closing_while_others_run(small_artifact):
    path, _, x = small_artifact
    wanted, wrong = bnn_compiler.load(path).run(x), []

    def work(net, started):
        try:
            while True:
                if not (net.run(x) == wanted).all():
                    wrong.append(net)
                started.set()
        except ArtifactError as e:
            if "closed" not in str(e):
                wrong.append(e)

    for number in (1, 2, 1, 2):
        net, started = bnn_compiler.load(path), threading.Event()
        net.set_threads(number)
        threads = [threading.Thread(target=work, args=(net, started)) for _ in range(3)]
        for t in threads:
            t.start()
        started.wait()
        net.close()
        for t in threads:
            t.join(30)
        assert not wrong and not any(t.is_alive() for t in threads)


@pytest.mark.parametrize("forbidden", ["memfd_create", "loader"])
def test_where_code_in_memory_is_forbidden(small_artifact, tmp_path, monkeypatch, forbidden):
    path, _, x = small_artifact
    wanted = bnn_compiler.load(path).run(x)
    if forbidden == "memfd_create":
        monkeypatch.delattr(os, "memfd_create")
    else:
        open_ = library._ctypes.dlopen

        def only_folders(name, flags):
            if name.startswith("/proc"):
                raise OSError("not permitted")
            return open_(name, flags)

        monkeypatch.setattr(library._ctypes, "dlopen", only_folders)
    monkeypatch.setattr(library.tempfile, "tempdir", str(tmp_path))
    before = count(FILES)
    net = bnn_compiler.load(path)
    assert (net.run(x) == wanted).all() and not list(tmp_path.iterdir())
    assert (pickle.loads(pickle.dumps(net)).run(x) == wanted).all()
    net.close()
    gc.collect()
    assert count(FILES) == before


def test_a_library_that_cannot_be_mapped(small_artifact, monkeypatch):
    def refuse(*_):
        raise OSError("no room")

    before = count(FILES)
    monkeypatch.setattr(library._ctypes, "dlopen", refuse)
    with pytest.raises(ArtifactError, match="cannot be mapped: no room"):
        bnn_compiler.load(small_artifact[0])
    assert count(FILES) == before


def test_copies_share_the_library(small_artifact):
    path, _, x = small_artifact
    net = bnn_compiler.load(path)
    wanted = net.run(x)
    net.set_threads(2)
    for other in (copy.deepcopy(net), copy.copy(net)):
        maps = len(MAPS.read_text().splitlines())
        assert copy.deepcopy(net).threads == 2
        assert len(MAPS.read_text().splitlines()) <= maps + 2
        net.close()
        assert (other.run(x) == wanted).all()
        net = other
    assert net.manifest == bnn_compiler.load(path).manifest
    described = copy.deepcopy(bnn_compiler.load(path, run_here=False))
    assert (described.run(x) == wanted).all()


def run_elsewhere(net, x):
    return os.getpid(), net.threads, net.run(x)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(small_artifact, tmp_path, method):
    path, _, x = small_artifact
    moved = tmp_path / "net.bnn"
    moved.write_bytes(path.read_bytes())
    for run_here in (True, False):
        net = bnn_compiler.load(moved, run_here=run_here)
        if run_here:
            net.set_threads(2)
            wanted = net.run(x.numpy())
        with ProcessPoolExecutor(1, get_context(method)) as pool:
            pid, threads, result = pool.submit(run_elsewhere, net, x.numpy()).result(60)
        assert pid != os.getpid() and threads == (2 if run_here else 1)
        np.testing.assert_array_equal(result, wanted)
    # By content: the file need not be there.
    data = pickle.dumps(net)
    moved.unlink()
    net = pickle.loads(data)
    assert net.size_bytes == path.stat().st_size
    np.testing.assert_array_equal(net.run(x.numpy()), wanted)


def test_a_forked_child_can_close_what_it_has_inherited(small_artifact, tmp_path):
    path, _, x = small_artifact
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import os, sys, numpy as np; from bnn_compiler.runtime import load;"
        f"net = load({str(path)!r}); net.set_threads(2); x = np.load({str(tmp_path / 'x.npy')!r});"
        "y = net.run(x); child = os.fork() == 0;"
        "net.close() if child else None;"
        f"other = load({str(path)!r}) if child else net; other.set_threads(2);"
        "sys.exit(not (other.run(x) == y).all() if child else os.wait()[1])"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
