from tvm import relax

from bnn_compiler.ops.graph import Graph, bind


def _chain():
    """a = x + x, b = a * a, c = b + x; c is the output."""
    x = relax.Var("x", relax.TensorType([2], "float32"))
    a = bind(relax.op.add(x, x), "a")
    b = bind(relax.op.multiply(a, a), "b")
    c = bind(relax.op.add(b, x), "c")
    values = {a: relax.op.add(x, x), b: relax.op.multiply(a, a), c: relax.op.add(b, x)}
    return Graph([x], values, [c]), x, a, b, c


def test_users_in_order_once_for_each_reading():
    graph, x, a, b, c = _chain()
    assert graph.users(x) == [a, a, c]
    assert graph.users(a) == [b, b]
    assert graph.only_user(b) == c and graph.only_user(c) is None


def test_what_is_bound_anew_reads_something_else():
    graph, x, a, b, c = _chain()
    assert graph.users(a) == [b, b]
    graph.set(c, relax.op.add(a, x))
    assert graph.users(a) == [c] and not graph.is_live(b)


def test_replaced_bindings_are_read_anew():
    graph, x, a, b, c = _chain()
    assert graph.users(x) == [a, a, c]
    d = bind(relax.op.negative(a), "d")
    graph.replace(b, [(d, relax.op.negative(a)), (b, relax.op.multiply(d, x))])
    assert list(graph.values) == [a, d, b, c]
    assert graph.users(a) == [d] and graph.users(d) == [b] and graph.users(x) == [a, a, b, c]
