"""Each kind of step as TE, compiled, against its meaning in numpy."""

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import STEPS, Epilogue, Step
from bnn_compiler.ops.functions import FUNCTIONS
from tests.network import anchors
from tests.toys.written import compiled, network_of

CHANNELS, SIZE = 20, 6
PARAMS = (-0.5, 0.75)


def tensor(emit, image, kind):
    """What a tensor step reads: of fewer channels, of twice the size, or as large."""
    n, h, w, c = ops.shape_of(image)
    times = 2 if "avg2" in kind else 1
    channels = {"add_tile": c // 2 - 1, "add_pad": c - 3, "add_avg2_tile": c // 2 + 2}.get(kind, c)
    shape = (n, times * h, times * w, channels)
    if times == 2:
        window = {"size": [2 * h, 2 * w], "factors": [0.0, 0.0]}
        attrs = {"method": "linear", "transform": "half_pixel"}
        image = emit(ops.anchor("resize2d", [image], **window, **attrs))
        if channels == c:
            return image
    if shape[3] == c:
        return emit(ops.anchor("pad", [image], padding=[0] * 4, pad_value=0.0))
    rng = np.random.default_rng(1)
    w = relax.const(rng.normal(size=(shape[3], 1, 1, c)).astype(np.float32))
    window = {"kernel": [1, 1], "strides": [1, 1], "padding": [0] * 4, "dilation": [1, 1]}
    return emit(ops.anchor("float_conv2d", [image, w], groups=1, **window))


#: Functions have a test of their own.
OPERATIONS = {name: kind for name, kind in STEPS.items() if name not in FUNCTIONS}


def every_step(emit, image):
    """A map for each kind, one after the other."""
    rng, value = np.random.default_rng(0), image
    for name, kind in OPERATIONS.items():
        vectors = [rng.normal(size=CHANNELS).astype(np.float32) for _ in range(kind.operands)]
        operands = [tensor(emit, image, name)] if kind.tensor else [relax.const(v) for v in vectors]
        step = Step(name, tuple(range(kind.operands)), PARAMS[: kind.params])
        value = emit(ops.anchor("map", [value], Epilogue((step,)), operands, layer=name))
    return value


def test_every_step_is_its_meaning(tmp_path, monkeypatch):
    x = np.random.default_rng(2).normal(size=(1, CHANNELS, SIZE, SIZE)).astype(np.float32)
    network = network_of(every_step, CHANNELS, SIZE)
    graph, found, manifest = compiled(network, x, tmp_path / "net.bnn", monkeypatch)
    steps = [ops.epilogue_of(m).steps for m in anchors(graph, "map")]
    assert [s.kind for (s,) in steps] == list(OPERATIONS)
    reported = [s["fused"] for s in manifest["steps"] if s["op"] == "bnn.map"]
    assert reported == [[k.report] for k in OPERATIONS.values()]
    assert set(np.unique(found)) <= {-1.0, -0.5, 1.0}
