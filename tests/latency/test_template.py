"""A kernel's sizes, taken out and put in again."""

from dataclasses import replace

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.template import Recipe, counts_of, with_counts
from bnn_compiler.ops.epilogue import Epilogue, Step

X = Layout((2, 8, 9, 24), "uint32", (1, 1, 1, 1))
Y = Layout((2, 4, 5, 40), "float32")
WORK = ConvWorkload(X, (2, 4, 5, 40), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), 4)
CONV = Kernel(
    "conv",
    "conv2d",
    Task(WORK, Epilogue((Step("affine", (0, 1)), Step("add", (2,)))), (None, None, Y)),
    (X, Y),
    (Y,),
)
POOL = Kernel("pool", "max_pool2d", PlainTask("max_pool2d", (X,), WORK), (X,), (Y,))


def test_every_size_is_named():
    x, y = [("batch", 2), ("size", 8), ("size", 9), ("size", 24)], [("batch", 2)]
    y += [("size", 4), ("size", 5), ("size", 40)]
    groups = [("groups", 4)]
    assert counts_of(CONV) == x + y + groups + y + x + y + y
    assert counts_of(POOL) == x + x + y + groups + x + y


def test_sizes_put_back_are_the_kernel():
    for kernel in (CONV, POOL):
        assert with_counts(kernel, [n for _, n in counts_of(kernel)]) == kernel


def test_other_sizes_change_nothing_else():
    other = with_counts(CONV, [n + 100 for _, n in counts_of(CONV)])
    assert other.task.work.shape == (102, 104, 105, 140)
    assert other.task.work.groups == 104
    assert other.task.tensors == (None, None, replace(Y, shape=(102, 104, 105, 140)))
    assert other.task.work.x == replace(X, shape=(102, 108, 109, 124))
    assert other.task.epilogue == CONV.task.epilogue


def test_a_recipe_makes_each_kernel_once():
    terms = tuple((((0,), 1),) if n == 40 else (((), n),) for _, n in counts_of(CONV))
    recipe = Recipe(CONV, terms, (0,))
    assert recipe.at((40, 7)) == CONV
    assert recipe.at((7, 1)).task.work.shape == (2, 4, 5, 7)
    assert recipe.at((7, 1)) is recipe.at((7, 2))
