"""A Relax function as a list of bindings, which is how every pass here reads and rewrites it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm
from numpy.typing import ArrayLike
from tvm import relax
from tvm.ir import GenericConst

from bnn_compiler.ops import relax_ops as ops


@dataclass
class Graph:
    """``values``: each bound variable and its expression, in order; ``outputs``: variables.

    A name belongs to a value: ``verify`` compares the variables of a compiled network with the
    framework's values by name. A pass that makes another value gives it a ``derived`` name.
    """

    params: list[relax.Var]
    values: dict[relax.Var, relax.Expr]
    outputs: list[relax.Var]
    _users: dict[relax.Var, list[relax.Var]] = field(default_factory=dict)
    #: What each value reads: asked anew only of values that changed.
    _reads: dict[relax.Var, list[relax.Var]] = field(default_factory=dict)
    #: What it was read from, while it is no other.
    _source: tvm.IRModule | None = None

    @staticmethod
    def of(module: tvm.IRModule) -> "Graph":
        """Read ``main``."""
        function = module["main"]
        values: dict[relax.Var, relax.Expr] = {}
        alias: dict[relax.Var, relax.Var] = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                value = substitute(binding.value, alias)
                if isinstance(value, relax.Var):
                    alias[binding.var] = value
                else:
                    values[binding.var] = value
        result = alias.get(function.body.body, function.body.body)
        tail = values.get(result)
        if isinstance(tail, relax.Tuple):
            del values[result]
            found = Graph(list(function.params), values, list(tail.fields))
        else:
            found = Graph(list(function.params), values, [result])
        if set(alias) <= {function.body.body} and found._live().issuperset(values):
            found._source = module
        return found

    def module(self) -> tvm.IRModule:
        """Write ``main`` anew, without bindings nobody uses."""
        if self._source is not None:
            return self._source
        live = self._live()
        named = [v.name for v, e in self.values.items() if v in live and not is_var(e)]
        assert len(set(named)) == len(named), "a pass gave two values one name"
        bb, env = relax.BlockBuilder(), dict[relax.Var, relax.Expr]()
        with bb.function("main", self.params):
            with bb.dataflow():
                for var, value in self.values.items():
                    if var in live:
                        env[var] = bb.emit(substitute(value, env), name_hint=var.name)
                results = [env[v] for v in self.outputs]
                out = bb.emit_output(results[0] if len(results) == 1 else relax.Tuple(results))
            bb.emit_func_output(out)
        return bb.get()

    def _live(self) -> set[relax.Var]:
        live = set(self.outputs)
        for var in reversed(self.values):
            if var in live:
                live.update(self._inputs(var))
        return live

    def _inputs(self, var: relax.Var) -> list[relax.Var]:
        if var not in self._reads:
            self._reads[var] = inputs(self.values[var])
        return self._reads[var]

    def is_live(self, var: relax.Var) -> bool:
        """Whether ``var`` contributes to an output."""
        return var in self.outputs or bool(self.users(var))

    def users(self, var: relax.Var) -> list[relax.Var]:
        """The bound variables whose expressions read ``var``, in order."""
        if not self._users:
            live = self._live()
            for user in self.values:
                for v in self._inputs(user) if user in live else ():
                    self._users.setdefault(v, []).append(user)
        return self._users.get(var, [])

    def only_user(self, var: relax.Var) -> relax.Var | None:
        """The single reader of ``var``; None if it has several or is an output."""
        users = self.users(var)
        return users[0] if len(users) == 1 and var not in self.outputs else None

    def value(self, expr: relax.Expr) -> relax.Expr | None:
        """What ``expr`` is bound to; None for a parameter or a constant."""
        return self.values.get(expr) if isinstance(expr, relax.Var) else None

    def replace(self, var: relax.Var, bindings: Sequence[tuple[relax.Var, relax.Expr]]) -> None:
        """Put ``bindings`` where ``var`` was bound; the last one may bind ``var`` again."""
        items: dict[relax.Var, relax.Expr] = {}
        for v, e in self.values.items():
            if v.same_as(var):
                items.update(bindings)
            else:
                items[v] = e
        self.values = items
        self._forget(var, *(v for v, _ in bindings))

    def set(self, var: relax.Var, value: relax.Expr) -> None:
        """Bind ``var`` to another expression of the same type."""
        self.values[var] = value
        self._forget(var)

    def set_param(self, index: int, param: relax.Var) -> None:
        """Take an input of another type."""
        self.params[index] = param
        self._forget()

    def _forget(self, *changed: relax.Var) -> None:
        self._source = None
        for var in changed:
            self._reads.pop(var, None)
        self._users.clear()


def is_var(expr: relax.Expr) -> bool:
    """Whether a binding only gives another name."""
    return isinstance(expr, relax.Var)


def inputs(expr: relax.Expr) -> list[relax.Var]:
    """The variables an expression reads."""
    if isinstance(expr, relax.Var):
        return [expr]
    if isinstance(expr, relax.Call):
        return [v for a in expr.args for v in inputs(a)]
    if isinstance(expr, relax.Tuple):
        return [v for f in expr.fields for v in inputs(f)]
    if isinstance(expr, relax.TupleGetItem):
        return inputs(expr.tuple_value)
    return []


def operands_first(
    expr: relax.Expr, read: Callable[[relax.Expr], list[relax.Var]]
) -> list[relax.Var]:
    """All that ``expr`` is made of, each behind what ``read`` says it is made of; without it."""
    found: list[relax.Var] = []
    seen: set[relax.Var] = set()
    waiting = [(v, False) for v in read(expr)]
    while waiting:
        var, is_complete = waiting.pop()
        if is_complete:
            found.append(var)
        elif var not in seen:
            seen.add(var)
            waiting.append((var, True))
            waiting += [(v, False) for v in read(var)]
    return found


def substitute(expr: relax.Expr, env: dict[relax.Var, relax.Expr]) -> relax.Expr:
    """``expr`` with variables replaced."""
    if isinstance(expr, relax.Var):
        return env.get(expr, expr)
    if isinstance(expr, relax.Call):
        args = [substitute(a, env) for a in expr.args]
        return relax.Call(expr.op, args, expr.attrs, expr.ty_args)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(f, env) for f in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        return relax.TupleGetItem(substitute(expr.tuple_value, env), expr.index)
    return expr


def constant(expr: relax.Expr) -> np.ndarray | None:
    """The value of a constant expression."""
    return expr.value.numpy() if isinstance(expr, GenericConst) else None


def array(expr: relax.Expr) -> np.ndarray:
    """The value of an expression known to be constant."""
    value = constant(expr)
    assert value is not None, "operand of a bnn operator must be constant"
    return value


def normalized(expr: relax.Expr) -> relax.Expr:
    """``expr`` with its type inferred."""
    return relax.BlockBuilder().normalize(expr)


def derived(name: str, what: str) -> str:
    """The name of a value that is made from the value ``name`` and is not that value."""
    return f"{name}__{what}"


def inside(name: str, top: int, left: int) -> str:
    """The name of the part of the value ``name`` from row ``top`` and column ``left`` on."""
    return derived(name, f"inside_{top}_{left}")


def base_name(name: str) -> str:
    """The name that ``name`` was derived from."""
    return name.split("__")[0]


def bind(expr: relax.Expr, name: str) -> relax.Var:
    """A fresh variable of the type of ``expr``."""
    return relax.DataflowVar(name, normalized(expr).ty)


def affine(x: relax.Expr, scale: ArrayLike, bias: ArrayLike) -> relax.Call:
    """bnn.affine: scale * x + bias, both [C]."""
    parts = [relax.const(np.asarray(v, np.float32)) for v in (scale, bias)]
    return ops.call_op("affine", [x, *parts])


def affine_operands(graph: Graph, expr: relax.Expr) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, bias) if ``expr`` is bound to bnn.affine."""
    value = graph.value(expr)
    if value is None or not ops.is_op(value, "relax.bnn.affine"):
        return None
    return array(value.args[1]), array(value.args[2])
