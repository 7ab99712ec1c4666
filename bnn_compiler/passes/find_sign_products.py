"""FindSignProducts: a product of computed tensors of two numbers each is one of signs."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.general import Program, Step
from bnn_compiler.ops.graph import Graph, affine, bind, constant, derived
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.find_signs import TOLERANCE, levels


class FindSignProducts:
    """matmul(x, y) -> h * g * bnn.matmul(sign(x - c), sign(y')), where y' is y, transposed.

        m = bnn.general(x, y; matmul)        p = bnn.sign(bnn.tokens(x))
                                      ->     q = bnn.sign(bnn.tokens(y'))
                                             m = bnn.plain(bnn.affine(bnn.matmul(p, q), h * g, 0))

    Every x is -h or h, or 0 or h, and every y -g or g, or 0 or g (``levels`` of find_signs.py):
    moved signs, comparisons. Those that a front end knows as signs are bnn.matmul already.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        atoms = Atoms(graph)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.bnn.general") and _is_product(value):
                _replace(graph, atoms, var, value)
        return graph.module()


def _is_product(call: relax.Call) -> bool:
    """Whether a program is the product of its two arguments, as it has just been imported."""
    steps = Program.parse([str(line) for line in call.attrs["program"]]).steps
    return steps == (Step("matmul", ("a0", "a1")),)


@dataclass(frozen=True)
class _Operand:
    """One of two levels, of which the upper is ``scale`` and the lower 0 or -``scale``."""

    center: float
    scale: float
    zero: int
    low: int


def _operand(atoms: Atoms, x: relax.Expr) -> _Operand | None:
    found = levels(atoms.fact(x))
    if found is None or np.any(found.center != found.center[0]):
        return None
    center = float(found.center[0])
    if center == 0:
        return _Operand(center, found.half, found.zero, -1)
    if abs(center - found.half) <= TOLERANCE * found.half:
        return _Operand(center, 2 * found.half, found.zero, 0)
    return None


@dataclass
class _Bindings:
    """What takes the place of ``name``, in order."""

    name: str
    new: list[tuple[relax.Var, relax.Expr]] = field(default_factory=list)

    def emit(self, what: str, expr: relax.Expr) -> relax.Var:
        self.new.append((bind(expr, derived(self.name, what)), expr))
        return self.new[-1][0]

    def signs(self, what: str, x: relax.Expr, operand: _Operand) -> relax.Var:
        """[N, H, I, K] of ``x`` [..., I, K]."""
        *lead, rows, columns = ops.shape_of(x)
        shape = [prod(lead[:-1]), prod(lead[-1:]), rows, columns]
        found = self.emit(f"{what}_rows", ops.anchor("tokens", [x], shape=shape))
        if operand.center:
            one = np.ones(columns)
            found = self.emit(f"{what}_centred", affine(found, one, -operand.center * one))
        return self.emit(f"{what}_sign", ops.call_op("sign", [found], zero=operand.zero))


def _replace(graph: Graph, atoms: Atoms, var: relax.Var, call: relax.Call) -> None:
    x, y = call.args if len(call.args) == 2 else (None, None)
    if x is None or constant(x) is not None or constant(y) is not None:
        return
    if ops.shape_of(x)[:-2] != ops.shape_of(y)[:-2]:
        return
    left, right = _operand(atoms, x), _operand(atoms, y)
    if left is None or right is None:
        return
    made = _Bindings(var.name)
    signs = (
        made.signs("left", x, left),
        made.signs("right", _turned(graph, made, y), right),
    )
    total = made.emit("product", ops.anchor("matmul", signs, low=[left.low, right.low]))
    scale = np.full(ops.shape_of(total)[3], left.scale * right.scale)
    if scale[0] != 1:
        total = made.emit("scaled", affine(total, scale, 0 * scale))
    plain = ops.call_op("plain", [total], shape=list(ops.shape_of(var)))
    graph.replace(var, [*made.new, (var, plain)])


def _turned(graph: Graph, made: _Bindings, y: relax.Var) -> relax.Var:
    """``y`` with its last two dimensions exchanged: what it was made of, if by that."""
    axes = list(range(len(ops.shape_of(y))))
    axes[-2:] = axes[:-3:-1]
    program, value = Program((Step("permute", ("a0",), (tuple(axes),)),)), graph.value(y)
    if (
        value is not None
        and ops.is_op(value, "relax.bnn.general")
        and [str(line) for line in value.attrs["program"]] == program.lines
    ):
        before: relax.Var = value.args[0]
        return before
    return made.emit("turned", ops.call_op("general", [y], inputs=1, program=program.lines))
