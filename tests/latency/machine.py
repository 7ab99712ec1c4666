"""Networks of kernels, and a machine whose times are a formula."""

from itertools import pairwise
from random import Random

import numpy as np

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import features as cost
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.sample import Sample
from bnn_compiler.ops.storage import Storage
from tests.kernels import kernel

TARGET = targets.load("x86-64-v3")
#: Without records and a model, so that the rule is quick.
SCHEDULES = Schedules(TARGET)


def conv(channels, side, outputs, **more):
    """A binary layer with its shortcut."""
    task = kernel.task(channels, side, outputs, **more)
    shortcut = task.tensors[2]
    bits = Layout(task.work.shape, "uint32", (1, 1, 1, 1))
    return Kernel("conv", "conv2d", task, (task.work.x, shortcut), (shortcut, bits))


def to_nhwc(side, batch=1):
    """The change of layout that a network begins with."""
    image = Layout((batch, 3, side, side), "float32", dense=True)
    result = Layout((batch, side, side, 3), "float32", (1, 1, 1, 1), dense=True)
    task = PlainTask("to_nhwc", (image,), parameters=(Storage.FLOAT32,))
    return Kernel("image", "to_nhwc", task, (image,), (result,))


def network(random, layers=6):
    """Kernels of a random one."""
    counts = [random.randrange(8, 160) for _ in range(layers + 1)]
    sides = [random.choice((28, 14, 7)) for _ in range(layers)]
    steps = zip(pairwise(counts), sides, strict=True)
    return (to_nhwc(32), *(conv(a, side, b) for (a, b), side in steps))


def seconds(one):
    """What the machine takes: cycles at 2 GHz, slower for 64 or more channels, and its bytes."""
    one = one.whole()
    moved = sum(t.bytes for t in (*one.reads, *one.writes))
    if not isinstance(one.task, Task):
        return 1e-6 + moved / 4e9
    point = families.rule(one.task, TARGET.hardware)
    _, cycles = cost.matrix(one.task, [point], TARGET.hardware)
    slow = 1.3 if one.task.work.x.shape[3] >= 64 else 1.0
    return 1e-6 + slow * float(cycles[0]) / 2e9 + moved / 8e9


def sample(kernels, rng, noise=0.01, slow=1.0):
    """A network timed while the machine was ``slow`` times slower than usual."""
    steps = np.array([seconds(k) for k in kernels]) * slow
    steps *= np.exp(noise * rng.standard_normal(len(steps)))
    whole = float(steps.sum() * 1.01 * np.exp(noise * rng.standard_normal()))
    return Sample("net", {"a": 1}, tuple(kernels), tuple(steps), whole, 0.01, 1e-3 * slow)


def samples(count, seed=0, noise=0.01):
    """Random networks, timed; every third in a slow minute."""
    random, rng = Random(seed), np.random.default_rng(seed)
    return [sample(network(random), rng, noise, 1.2 if i % 3 == 2 else 1.0) for i in range(count)]
