"""A kernel's sizes, taken out and put in again."""

from dataclasses import replace

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.substitute import Substitution
from bnn_compiler.latency.template import Recipe
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
    assert Substitution(CONV).counts == (*x, *y, *groups, *y, *x, *y, *y)
    assert Substitution(POOL).counts == (*x, *x, *y, *groups, *x, *y)


def test_sizes_put_back_are_the_kernel():
    for kernel in (CONV, POOL):
        assert Substitution(kernel)([n for _, n in Substitution(kernel).counts]) == kernel


def test_other_sizes_change_nothing_else():
    other = Substitution(CONV)([n + 100 for _, n in Substitution(CONV).counts])
    assert other.task.work.shape == (102, 104, 105, 140)
    assert other.task.work.groups == 104
    assert other.task.tensors == (None, None, replace(Y, shape=(102, 104, 105, 140)))
    assert other.task.work.x == replace(X, shape=(102, 108, 109, 124))
    assert other.task.epilogue == CONV.task.epilogue


def test_a_recipe_makes_each_kernel_once():
    terms = tuple((((0,), 1),) if n == 40 else (((), n),) for _, n in Substitution(CONV).counts)
    recipe = Recipe(CONV, terms)
    assert recipe.at((40, 7)) == CONV
    assert recipe.at((7, 1)).task.work.shape == (2, 4, 5, 7)
    assert recipe.at((7, 1)) is recipe.at((7, 2))


def test_a_shortcut_is_added_as_its_channels_demand():
    """A tile of fewer channels, the leading ones of more; sizes that are equal stay one object."""
    short = Layout((2, 4, 5, 7), "float32")
    task = replace(CONV.task, epilogue=Epilogue((Step("add_tile", (2,)),)))
    kernel = Kernel("c", "conv2d", replace(task, tensors=(None, None, short)), (X, short), (Y,))
    named = {40: (((0,), 1),), 7: (((1,), 1),)}
    recipe = Recipe(kernel, [named.get(n, (((), n),)) for _, n in Substitution(kernel).counts])
    kinds = {(c, t): recipe.at((c, t)).task.epilogue.steps[0].kind for c in (8, 9) for t in (8, 9)}
    assert kinds == {(8, 8): "add", (8, 9): "add", (9, 8): "add_tile", (9, 9): "add"}
    other = recipe.at((9, 8))
    assert other.reads[0] is other.task.work.x and hash(other) == hash(replace(other))
