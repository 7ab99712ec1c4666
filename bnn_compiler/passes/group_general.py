"""GroupGeneral: general programs that feed each other become one kernel."""

from collections.abc import Sequence
from math import prod

import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.functions import LEVELS
from bnn_compiler.ops.general import Program, Shape, primitive
from bnn_compiler.ops.graph import Graph
from bnn_compiler.ops.primitives import Kind
from bnn_compiler.ops.work import work

#: Steps of a kernel at most: its code grows with them.
_MOST = 40


class GroupGeneral:
    """A program that one other reads is computed inside it.

        m = bnn.general(x; program=["reduce_max(a0;[1])"])
        n = bnn.general(m; program=["reshape(a0;[8,1])"])
        ->
        n = bnn.general(x; program=["reduce_max(a0;[1])", "reshape(t0;[8,1])"])

    A kernel has one reduction at most, and what follows it is element by element.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var in list(graph.values):
            while _merge(graph, var):
                pass
        return graph.module()


def _is_general(value: relax.Expr | None) -> bool:
    return value is not None and ops.is_op(value, "relax.bnn.general")


def _merge(graph: Graph, var: relax.Var) -> bool:
    call = graph.values[var]
    if not _is_general(call):
        return False
    for argument in call.args:
        if _is_general(graph.value(argument)) and graph.only_user(argument) is not None:
            merged = _merged(call, argument, graph.values[argument])
            if merged is not None:
                graph.set(var, merged)
                return True
    return False


def _merged(call: relax.Call, argument: relax.Var, producer: relax.Call) -> relax.Call | None:
    """``call`` with ``argument`` computed inside; None if one kernel cannot or should not."""
    arguments: list[relax.Expr] = []

    def name(expr: relax.Expr) -> str:
        for i, known in enumerate(arguments):
            if known.same_as(expr):
                return f"a{i}"
        arguments.append(expr)
        return f"a{len(arguments) - 1}"

    inner, outer = _program(producer), _program(call)
    if inner.steps[-1].op in LEVELS:
        # verify compares levels, which rounding decides.
        return None
    first = inner.renamed({f"a{i}": name(a) for i, a in enumerate(producer.args)}, 0)
    names = {
        f"a{i}": inner.result if a.same_as(argument) else name(a) for i, a in enumerate(call.args)
    }
    whole = Program((*first, *outer.renamed(names, len(first))))
    shapes = [ops.shape_of(a) for a in arguments]
    if len(whole.steps) > _MOST or not one_nest(whole, shapes):
        return None
    apart = sum(work(_program(c), [ops.shape_of(a) for a in c.args]) for c in (producer, call))
    # A value that is stored and read again costs about as much as a few operations.
    if work(whole, shapes) > apart + 4 * prod(ops.shape_of(argument)):
        return None
    return general_call(whole, arguments)


def general_call(program: Program, arguments: Sequence[relax.Expr]) -> relax.Call:
    """A call of bnn.general."""
    return ops.call_op("general", list(arguments), inputs=len(arguments), program=program.lines)


def _program(call: relax.Call) -> Program:
    return Program.parse([str(line) for line in call.attrs["program"]])


def one_nest(program: Program, arguments: Sequence[Shape]) -> bool:
    """Whether one loop nest can hold it: one reduction, and then element by element."""
    shapes = program.shapes(arguments)
    behind: set[str] = set()
    for i, step in enumerate(program.steps):
        name, reads = f"t{i}", behind & set(step.operands)
        kind = primitive(step.op).kind
        if kind is Kind.REDUCE:
            if behind:
                return False
            behind.add(name)
        elif reads:
            moves = kind is Kind.MOVE and step.op != "reshape"
            if moves or any(_size(shapes[name]) != _size(shapes[v]) for v in reads):
                return False
            behind.add(name)
    return not behind or program.result in behind


def _size(shape: Shape) -> Shape:
    """Without axes of 1."""
    return tuple(n for n in shape if n != 1)
