"""An artifact and its sessions run on any executor."""

import copy
import ctypes
import pickle

import numpy as np
import pytest

import bnn_compiler
from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime import Artifact, Session, files
from bnn_compiler.runtime.executor import LibraryExecutor
from bnn_compiler.runtime.library import HAS_NAN


class Elsewhere:
    """An executor whose workspaces no one else can look into: bytes, handed out as copies."""

    def __init__(self, outputs):
        self.outputs, self.ran, self.threads, self.code = outputs, [], 1, 0

    def set_threads(self, count):
        self.threads = count
        return count

    def prepare(self):
        self.ran.append("prepare")

    def run(self, places, check_finite):
        self.ran.append(("run", check_finite))
        ctypes.memset(places[-1], 0, 4 * self.outputs)
        return self.code

    def run_steps(self, workspace, places, first, last, seconds):
        self.ran.append((first, last))
        if seconds is not None:
            seconds[first:last] += 1.0
        return self.code

    def new_workspace(self):
        return {}

    def read(self, workspace, offset, size):
        return np.frombuffer(workspace[offset], np.uint8, size)

    def write(self, workspace, offset, data):
        workspace[offset] = data.tobytes()

    def close(self):
        self.ran.append("close")


@pytest.fixture
def elsewhere(small_artifact):
    found = files.read(small_artifact[0])
    return Artifact(found.path, found.manifest, found.description, found.size, Elsewhere(7))


def test_another_executor_is_all_an_artifact_needs(elsewhere, small_artifact):
    x, executor = small_artifact[2].numpy(), elsewhere.executor
    assert elsewhere.set_threads(3) == elsewhere.threads == 3
    elsewhere.check_runs_here()
    assert (elsewhere.run(x) == 0).all()
    assert [p.seconds for p in elsewhere.profile(x, repeat=1)] == [1.0] * len(
        elsewhere.description.steps
    )
    elsewhere.close()
    count = len(elsewhere.description.steps)
    assert executor.ran == ["prepare", ("run", True), *[(0, count)] * 3, "close"]


def test_sessions_store_and_find_tensors_through_it(elsewhere):
    session = Session(elsewhere)
    for buffer in elsewhere.description.buffers:
        if buffer.kind == "arena":
            value = np.where(np.random.default_rng(0).normal(size=buffer.shape) > 0, 1, -1)
            session.write_buffer(buffer.id, value)
            np.testing.assert_array_equal(session.read_buffer(buffer.id), value)


def test_what_an_executor_returns_is_an_error(elsewhere, small_artifact):
    x = small_artifact[2].numpy().copy()
    elsewhere.executor.code = -1
    with pytest.raises(ArtifactError, match="a kernel returned -1"):
        elsewhere.run(x)
    with pytest.raises(ArtifactError, match="a kernel returned -1"):
        Session(elsewhere).run(0, 1)
    elsewhere.executor.code, x[0, 1, 2, 3] = HAS_NAN, np.nan
    with pytest.raises(InputError, match=r"NaN at \[0, 1, 2, 3\]"):
        elsewhere.run(x)


def test_the_librarys_executor_is_copied_and_pickled_with_its_code(small_artifact):
    found = files.read(small_artifact[0])
    executor = LibraryExecutor(found.path, found.description, found.library)
    early = copy.copy(executor)
    executor.prepare()
    assert copy.copy(executor).library() is executor.library()
    assert early.library() is not executor.library()
    executor.set_threads(2)
    again = pickle.loads(pickle.dumps(executor))
    assert again.threads == 2 and again.library().content == found.library
    executor.close()
    assert again.set_threads(1) == 1
    for use in (executor.prepare, executor.new_workspace, lambda: executor.run([0, 0], True)):
        with pytest.raises(ArtifactError, match="is closed"):
            use()


def test_the_seconds_of_each_step(small_artifact):
    net = bnn_compiler.load(small_artifact[0])
    seconds = np.zeros(len(net.description.steps))
    Session(net).run(0, 1, seconds)
    assert seconds[0] > 0 and not seconds[1:].any()
