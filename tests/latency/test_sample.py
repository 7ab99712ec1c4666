import json

import pytest

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.sample import Sample
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from tests.latency import machine

X = Layout((1, 8, 8, 24), "float32")
WORK = ConvWorkload(X, (1, 4, 4, 24), (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), 1)
RELU = Epilogue((Step("clip", (), (0.0, 6.0)), Step("add", (0,))), (Output(), Output(">", 1)))
PLAIN = [
    PlainTask("max_pool2d", (X,), WORK, (), RELU, (X, None)),
    PlainTask("resize2d", (X,), None, ((16, 16), "linear", "half_pixel", (2.0, 2.0))),
    PlainTask("pad", (X,), None, ((1, 2, 1, 2), 0.5)),
    PlainTask("concat", (X, X)),
    machine.to_nhwc(8).task,
]


def test_a_line_of_json_is_the_same_sample():
    kernels = (
        machine.conv(40, 14, 24, groups=2),
        *(Kernel("plain", t.op, t, t.data, (X,)) for t in PLAIN),
    )
    before = Sample(
        "net", {"b": 7, "c.groups": 2}, kernels, (1e-4,) * len(kernels), 2e-3, 0.01, 1e-3, False
    )
    after = Sample.from_dict(json.loads(json.dumps(before.as_dict())))
    assert after == before and hash(after.kernels) == hash(before.kernels)
    older = before.as_dict()
    del older["random"]
    assert Sample.from_dict(json.loads(json.dumps(older))).random


@pytest.mark.parametrize(
    "change", [{"steps": []}, {"seconds": 0.0}, {"reference": float("inf")}, {"kernels": [{}]}]
)
def test_what_is_no_timed_network_is_refused(change):
    one = machine.samples(1)[0].as_dict()
    with pytest.raises((KeyError, ValueError, TypeError)):
        Sample.from_dict({**one, **change})
