"""BinarizeMatmul: a product of two computed tensors of signs becomes one of bits."""

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine, bind, derived
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.sign_planes import plane


class BinarizeMatmul:
    """bnn.matmul(sign(x), sign(y)) -> bnn.matmul(bits of x, bits of y).

        s = bnn.sign(x)                          p = bnn.map(x, 0; outputs=["bits>=:0"])
        t = bnn.sign(y)                  ->      q = bnn.map(y, 0; outputs=["bits>=:0"])
        m = bnn.matmul(s, t)                     m = bnn.matmul(p, q)

    A sign that is 0 more often than by accident is the mean of two planes, x >= 0 and x > 0: m is
    then the mean of two or four such products.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        rewrite = _Rewrite(graph, Atoms(graph))
        for var, value in list(graph.values.items()):
            if ops.anchor_name(value) == "matmul":
                rewrite.product(var, value)
        return graph.module()


_WHAT = {">=": "bits_from_0", ">": "bits_above_0"}


@dataclass
class _Rewrite:
    """State of one run; ``bits``: planes made so far, by the sign and the compare."""

    graph: Graph
    atoms: Atoms
    bits: dict[tuple[relax.Var, str], relax.Var] = field(default_factory=dict)

    def product(self, var: relax.Var, call: relax.Call) -> None:
        """Replace one."""
        left, right = (self._planes(a) for a in call.args)
        new: list[tuple[relax.Var, relax.Expr]] = []

        def emit(expr: relax.Expr) -> relax.Var:
            new.append((bind(expr, derived(var.name, f"sum{len(new)}")), expr))
            return new[-1][0]

        low = [int(v) for v in call.attrs["low"]]
        terms = [emit(ops.anchor("matmul", [a, b], low=low)) for a in left for b in right]
        total = terms[0]
        for term in terms[1:]:
            total = emit(relax.op.add(total, term))
        if len(terms) > 1:
            n = ops.shape_of(var)[3]
            emit(affine(total, np.full(n, 1 / len(terms)), np.zeros(n)))
        *inner, (_, last) = new
        self.graph.replace(var, [*inner, (var, last)])

    def _planes(self, signs: relax.Var) -> list[relax.Var]:
        sign = self.graph.values[signs]
        assert ops.is_op(sign, "relax.bnn.sign"), "a front end multiplies signs"
        zero, x = int(sign.attrs["zero"]), sign.args[0]
        if zero or not self.atoms.may_be_zero(x):
            return [self._plane(signs, x, ">" if zero < 0 else ">=", "bits")]
        return [self._plane(signs, x, c, what) for c, what in _WHAT.items()]

    def _plane(self, signs: relax.Var, x: relax.Expr, compare: str, what: str) -> relax.Var:
        if (signs, compare) not in self.bits:
            made = plane(x, compare)
            bits = self.bits[signs, compare] = bind(made, derived(signs.name, what))
            self.graph.replace(signs, [(signs, self.graph.values[signs]), (bits, made)])
        return self.bits[signs, compare]
