"""What stub.play runs: a function of this file or of faults.py, without TVM and torch.

python scenarios.py FOLDER NAME
"""

import copy
import ctypes
import pickle
import sys
import threading

import numpy as np

from bnn_compiler import runtime
from bnn_compiler.errors import ArtifactError, InputError
from tests.deploy.cuda import faults
from tests.deploy.cuda.playing import (
    FOLDER,
    PATH,
    Array,
    Capsule,
    Stub,
    X,
    Y,
    refused,
    results,
    right,
)


def host(stub):
    """Arrays of the host; neither TVM nor torch is loaded."""
    with runtime.load(PATH) as net:
        for _ in range(4):
            assert right(net.run(*X))
        steps = len(net.description.steps)
        assert stub.cu.stub_kernels_run() == 4 * steps
        # The first run is a sequence of launches, the others are a graph of them.
        assert stub.cu.stub_early() == 2 * sum(i % 2 for i in range(1, steps)) or steps < 3
        outs = tuple(np.full_like(y, np.nan) for y in Y)
        assert right(net.run(*X, out=outs)) and right(outs)
        refused(InputError, "overlaps", lambda: _overlap(net))
    refused(ArtifactError, "is closed", lambda: net.run(*X))
    assert not {"tvm", "torch"} & set(sys.modules)


def _overlap(net):
    whole = np.zeros(X[0].size + Y[0].size, np.float32)
    x = whole[: X[0].size].reshape(X[0].shape)
    y = whole[X[0].size - 1 :][: Y[0].size].reshape(Y[0].shape)
    net.run(x, *X[1:], out=(y, *(np.zeros_like(v) for v in Y[1:])))


def device(stub):
    """Arrays of the device, in streams of the caller's, without waiting and without a copy."""
    stub.enter()
    stream = stub.stream()
    xs = [Array(stub, x, stream) for x in X]
    outs = tuple(Array(stub, np.zeros_like(y)) for y in Y)
    with runtime.load(PATH) as net:
        calls = []
        for _ in range(4):
            before, ran = stub.cu.stub_calls(), stub.cu.stub_kernels_run()
            found = net.run(*xs, out=outs)
            calls.append(stub.cu.stub_calls() - before)
            assert results(found)[0] is outs[0] and stub.cu.stub_kernels_run() == ran
            stub.finish(stream)
            assert right(tuple(o.numpy() for o in outs))
        assert calls[3] < calls[0], "a graph takes fewer calls than launches do"
        made = results(net.run(*xs))
        assert stub.cu.stub_pending() > 0, "nothing waited"
        assert made[0].__cuda_array_interface__["stream"] == stream
        assert right(tuple(m.numpy() for m in made))
        # What is still being made in another stream, and says so, is waited for.
        early = [Array(stub, np.zeros_like(x), stream) for x in X]
        for array, x in zip(early, X, strict=True):
            array.begin_copy(x)
        other = stub.stream()
        assert stub.cu.stub_pending() > 0
        late = results(net.run(*early, stream=other))
        assert right(tuple(m.numpy() for m in late))
        stub.finish(other)
        stub.destroy(other)
        for array in early:
            array.free()
        del late
        # From the host to the device and back.
        assert right(tuple(np.array(o) for o in results(net.run(*X))))
        net.run(*X, out=outs, stream=stream)
        assert right(tuple(o.numpy() for o in outs))
        outputs = tuple(np.zeros_like(y) for y in Y)
        assert right(net.run(*xs, out=outputs))
        del made, found
    for array in (*xs, *outs):
        array.free()
    stub.destroy(stream)
    stub.leave()


def many_places(stub):
    """More tensors in turn than there are graphs."""
    stub.enter()
    with runtime.load(PATH) as net:
        outs = [tuple(Array(stub, np.zeros_like(y)) for y in Y) for _ in range(7)]
        xs = [Array(stub, x) for x in X]
        for _ in range(3):
            for out in outs:
                net.run(*xs, out=out)
        for out in outs[:3] * 3:
            net.run(*xs, out=out)
        for out in outs:
            assert right(tuple(o.numpy() for o in out))
    for array in (*xs, *(o for out in outs for o in out)):
        array.free()
    stub.leave()


def arrays(stub):
    """What is no array of the network's is refused."""
    stub.enter()
    x, wide = X[0], X[0].astype(np.float64)
    good = [Array(stub, v) for v in X]
    strides = tuple(2 * s for s in x.strides)
    odd = [
        (Array(stub, wide), "float64"),
        (Array(stub, x[..., :-1]), "on the GPU, the network's is"),
        (Array(stub, x, strides=strides), "strides"),
        (Array(stub, x, strides=x.strides[::-1]), "strides"),
        (Array(stub, x, mask=np.ones(1)), "strides"),
    ]
    with runtime.load(PATH) as net:
        for array, words in odd:
            refused(InputError, words, lambda array=array: net.run(array, *good[1:]))
        read_only = Array(stub, Y[0], data=(good[0].at, True))
        refused(InputError, "cannot be written", lambda: net.run(*good, out=(read_only, *Y[1:])))
        refused(InputError, "stream is a str", lambda: net.run(*good, stream="s"))
        refused(InputError, "inputs, got", lambda: net.run(*good, good[0]))
        stub.enter(1)
        far = Array(stub, x)
        refused(
            InputError, "lies on GPU 1, and the network on GPU 0", lambda: net.run(far, *good[1:])
        )
        far.free()
        stub.leave(1)
        same = Array(stub, x, strides=x.strides)
        assert right(tuple(r.numpy() for r in results(net.run(same, *good[1:]))))
        same.free()
    for array in (*good, *(a for a, _ in odd), read_only):
        array.free()
    stub.leave()


def dlpack(stub):
    stub.enter()
    stream = stub.stream()
    capsules = [Capsule(Array(stub, x)) for x in X]
    with runtime.load(PATH) as net:
        found = results(net.run(*capsules, stream=stream))
        assert capsules[0].streams == [stream]
        assert right(tuple(f.numpy() for f in found))
        assert right(tuple(f.numpy() for f in results(net.run(*capsules))))
        assert capsules[0].streams == [stream, 1]
        odd = Capsule(capsules[0].array, (2, 16))
        refused(InputError, "DLPack's 2:16", lambda: net.run(odd, *capsules[1:]))
        first = capsules[0].array
        dense = [s // first.value.itemsize for s in first.value.strides]
        turned = Capsule(first, strides=dense[::-1])
        refused(InputError, "has strides", lambda: net.run(turned, *capsules[1:]))
        between = Capsule(first, offset=1)
        words = "is not aligned to its elements"
        if first.value.itemsize > 1:
            refused(InputError, words, lambda: net.run(between, *capsules[1:]))
        stub.enter(1)
        far = Capsule(Array(stub, X[0]))
        words = "lies on GPU 1, and the network on GPU 0"
        refused(InputError, words, lambda: net.run(far, *capsules[1:]))
        far.array.free()
        stub.leave(1)
        managed = [Capsule(c.array, device=13, strides=None) for c in capsules]
        assert right(tuple(f.numpy() for f in results(net.run(*managed))))
        del found
    for c in capsules:
        c.array.free()
    stub.destroy(stream)
    stub.leave()


def sessions(stub):
    """Sessions in streams of their own: nobody waits for another."""
    stub.enter()
    streams = [stub.stream() for _ in range(3)]
    xs = [Array(stub, x) for x in X]
    with runtime.load(PATH) as net:
        made = [net.session(s) for s in streams]
        outs = [tuple(Array(stub, np.zeros_like(y)) for y in Y) for _ in made]
        for _ in range(3):
            for session, out in zip(made, outs, strict=True):
                session.run(*xs, out=out)
        pending = stub.cu.stub_pending()
        stub.finish(streams[1])
        assert 0 < stub.cu.stub_pending() < pending
        assert right(tuple(o.numpy() for o in outs[1]))
        made[0].wait()
        assert right(tuple(o.numpy() for o in outs[0]))
        # One session in two streams: the second run waits for the first.
        ran = stub.cu.stub_kernels_run()
        made[0].run(*xs, out=outs[0], stream=streams[0])
        made[0].run(*xs, out=outs[1], stream=streams[1])
        stub.finish(streams[1])
        assert stub.cu.stub_kernels_run() == ran + 2 * len(net.description.steps)
        made[0].close()
        refused(ArtifactError, "is closed", lambda: made[0].run(*xs))
        with net.session() as session:
            assert right(session.run(*X))
        for session in made:
            session.close()
    for array in (*xs, *(o for out in outs for o in out)):
        array.free()
    for stream in streams:
        stub.destroy(stream)
    stub.leave()


def captured(stub):
    """A run that becomes part of a graph of the caller's."""
    stub.enter()
    stream = stub.stream()
    xs, outs = [Array(stub, x) for x in X], tuple(Array(stub, np.zeros_like(y)) for y in Y)
    graph, whole, cu = ctypes.c_void_p(), ctypes.c_void_p(), stub.cu
    with runtime.load(PATH) as net, net.session(stream) as session:
        assert cu.cuStreamBeginCapture_v2(ctypes.c_void_p(stream), 1) == 0
        session.run(*xs, out=outs)
        refused(InputError, "cannot be captured", lambda: session.run(*X))
        assert cu.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph)) == 0
        assert (
            cu.cuGraphInstantiateWithFlags(ctypes.byref(whole), graph, ctypes.c_ulonglong(0)) == 0
        )
        assert cu.stub_kernels_run() == 0
        assert cu.cuGraphLaunch(whole, ctypes.c_void_p(stream)) == 0
        stub.finish(stream)
        assert right(tuple(o.numpy() for o in outs))
    assert cu.cuGraphDestroy(graph) == cu.cuGraphExecDestroy(whole) == 0
    for array in (*xs, *outs):
        array.free()
    stub.destroy(stream)
    stub.leave()


def contexts(stub):
    """The current context is taken, else the primary one of the GPU that is asked for."""
    with runtime.load(PATH, device=1) as net:
        assert net.executor.network().device == 1 and right(net.run(*X))
        assert net.gpu == "Stub 1"
    stub.enter(1)
    with runtime.load(PATH) as net:
        assert net.executor.network().device == 1 and right(net.run(*X))
    with runtime.load(PATH, device=0) as net:
        assert net.executor.network().device == 0 and right(net.run(*X))
    stub.leave(1)
    own = ctypes.c_void_p(stub.cu.stub_context(1))
    assert stub.cu.cuCtxPushCurrent_v2(own) == 0
    with runtime.load(PATH) as net:
        assert net.executor.network().device == 1 and right(net.run(*X))
        # Other threads have no current context.
        found = []
        thread = threading.Thread(target=lambda: found.append(net.run(*X)))
        thread.start()
        thread.join()
        assert right(found[0])
    assert stub.cu.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())) == 0
    refused(
        ArtifactError, "there is no GPU 2 here; there are 2", lambda: runtime.load(PATH, device=2)
    )
    refused(InputError, "device -1", lambda: runtime.load(PATH, device=-1))


def steps(stub):
    """Steps one by one, their seconds, and what lies in the workspace."""
    with runtime.load(PATH) as net:
        count = len(net.description.steps)
        session = runtime.Session(net)
        session.inputs = [x.copy() for x in X]
        for i in range(count):
            session.run(i, i + 1)
        assert right(tuple(session.outputs))
        profile = net.profile(*X, repeat=2)
        assert [p.seconds for p in profile] == [0.0005] * count
        seconds = np.zeros(count)
        session.run(1, 3, seconds)
        assert (seconds > 0).nonzero()[0].tolist() == [1, 2]
        generator = np.random.default_rng(0)
        for buffer in net.description.buffers:
            if buffer.kind == "arena":
                value = np.where(generator.normal(size=buffer.shape) > 0, 1, -1)
                session.write_buffer(buffer.id, value)
                assert (session.read_buffer(buffer.id) == value).all()
        refused(ArtifactError, "there are no steps 0 to", lambda s=session: s.run(0, count + 1))
        del session


def copies(stub):
    """Artifacts are copied and pickled; runs from threads get a workspace each."""
    with runtime.load(PATH) as net:
        other = copy.copy(net)
        again = pickle.loads(pickle.dumps(net))
        assert other.executor.network() is net.executor.network()
        assert again.executor.network() is not net.executor.network()
        wrong = []

        def work(one):
            wrong.extend(1 for _ in range(5) if not right(one.run(*X)))

        threads = [threading.Thread(target=work, args=(n,)) for n in (net, net, other, again)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong
        assert net.set_threads(4) == net.threads == 1
        other.close()
        again.close()


def nan(stub):
    """A NaN of the host is found before anything is run."""
    bad = X[0].copy()
    bad.flat[5] = np.nan
    with runtime.load(PATH) as net:
        refused(InputError, "is NaN at", lambda: net.run(bad, *X[1:]))
        assert stub.cu.stub_kernels_run() == 0
        net.run(bad, *X[1:], check_finite=False)
        assert right(net.run(*X))


def run_only(stub):
    """One run."""
    with runtime.load(PATH) as net:
        assert right(net.run(*X)) and right(net.run(*X))


def halves(stub):
    """In half precision: near what CPUs give, and each kernel what its operator means."""
    import bnn_compiler

    with bnn_compiler.load(PATH) as net:
        assert net.manifest["contract"]["reorder"]
        ops = {s["op"] for s in net.manifest["steps"]}
        assert {"bnn.half_pooled_conv2d", "bnn.half_conv2d"} <= ops
        assert not ops & {"bnn.float_conv2d", "bnn.max_pool2d", "bnn.to_nhwc"}
        families = {s["schedule"]["point"].get("family") for s in net.manifest["steps"]}
        assert families == {"half", "mma", None}, families
        assert sum(b["dtype"] == "float16" for b in net.manifest["buffers"]) == 5
        found = bnn_compiler.verify(net, str(FOLDER / "net.pt2"), [tuple(X)])
        print(found.text())
        assert found.ok and 0 < max(h.error for h in found.half) < 2**-10


#: By the name that stub.play gives.
SCENARIOS = {
    f.__name__: f
    for f in (
        *(host, device, many_places, arrays, dlpack, sessions, captured, contexts, steps, copies),
        *(nan, run_only, halves, faults.injected, faults.devices),
    )
}


if __name__ == "__main__":
    if sys.argv[2].startswith("says "):
        faults.says(sys.argv[2].removeprefix("says "))
    else:
        stub = Stub()
        SCENARIOS[sys.argv[2]](stub)
        stub.check()
