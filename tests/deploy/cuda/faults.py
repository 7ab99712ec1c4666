"""Scenarios in which something is wrong: calls that fail, GPUs and drivers that do not do."""

import gc

import numpy as np

from bnn_compiler import runtime
from bnn_compiler.errors import ArtifactError, BnnCompilerError
from tests.deploy.cuda.playing import PATH, Array, X, Y, refused, results, right


def injected(stub):
    """Every call fails once: an error each time, and nothing is left of it."""
    stub.enter()
    xs = [Array(stub, x) for x in X]
    out = tuple(Array(stub, np.zeros_like(y)) for y in Y)

    def use():
        with runtime.load(PATH) as net:
            net.run(*X)
            net.run(*X)
            net.run(*xs, out=out)
            net.run(*xs, out=out)
            # These go when the calls are counted no longer.
            made = results(net.run(*xs))
            [m.numpy() for m in made]
            session = runtime.Session(net)
            session.run(0, 2, np.zeros(len(net.description.steps)))
            session.write_buffer(_first(net), session.read_buffer(_first(net)))
            ended = stub.cu.stub_calls()
            del session, made
        return ended

    def fail_at(n, code):
        """The call that was made to fail."""
        stub.set("fail_with", code)
        stub.fail(n)
        seen = False
        try:
            use()
        except BnnCompilerError as e:
            # An exception holds frames, and those hold sessions.
            e.__traceback__, seen = None, True
            assert "\n" not in str(e), e
            assert code != 2 or "memory" in str(e), e
        gc.collect()
        stub.fail(0)
        name = stub.cu.stub_failed().decode()
        # What gives something back has no one to tell.
        assert seen or any(w in name for w in ("Destroy", "Free", "Unload")), f"nobody saw {name}"
        left = stub.cu.stub_live()
        assert left == alone, f"{left - alone} objects are left after call {n}, {name}"
        assert stub.cu.stub_depth() == 1, f"a context is left current after call {n}, {name}"
        return name

    start = stub.cu.stub_calls()
    total = use() - start
    alone = stub.cu.stub_live()
    names = [fail_at(n, 999) for n in range(1, total + 1)]
    for n, name in enumerate(names, 1):
        if "Alloc" in name or "Load" in name or "Create" in name:
            fail_at(n, 2)
    print(total)
    for array in (*xs, *out):
        array.free()
    with runtime.load(PATH) as net:
        assert right(net.run(*X))
    stub.leave()


def _first(net):
    return next(b.id for b in net.description.buffers if b.kind == "arena")


def devices(stub):
    """GPUs that the code is not for, drivers that are too old, memory that is too small."""
    for sm in (90, 91, 100, 120, 86):
        stub.set("sm", sm)
        with runtime.load(PATH) as net:
            assert right(net.run(*X))
    stub.set("sm", 75)
    refused(
        ArtifactError,
        "Stub 0 is of sm_75, and the network is compiled for sm_80 and sm_90, and by PTX for sm_90"
        " and later; compile it with --target cuda-sm75",
        lambda: runtime.load(PATH),
    )
    stub.set("sm", 100)
    stub.set("version", 12020)
    refused(
        ArtifactError,
        "that of CUDA 12.2, is too old for the network's PTX",
        lambda: runtime.load(PATH),
    )
    stub.set("sm", 90)
    stub.set("memory", 1000)
    refused(ArtifactError, "out of memory", lambda: runtime.load(PATH))
    description = runtime.load(PATH, run_here=False).description
    stub.set("memory", description.weights_bytes + 1000)
    with runtime.load(PATH) as net:
        refused(ArtifactError, "no memory for a workspace of", lambda: net.run(*X))
    stub.set("memory", 1 << 33)
    stub.set("devices", 0)


def says(words):
    """An error without the stub's help."""
    refused(ArtifactError, words, lambda: runtime.load(PATH))
    assert not runtime.load(PATH, run_here=False).manifest["threads"]
