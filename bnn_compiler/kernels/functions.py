"""The functions of ops/functions.py in kernels: one call in TIR, its chain in machine code.

A call of ``tirx.bnn_exp`` and the like is vectorised and unrolled as it is. ``calls_of`` then
makes it a call of a function with a name of its own, which each backend writes and inlines
(cpu/function_code.py, cuda/function_code.py): a ``Text`` is what they write it by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Op, _ffi_api, register_op_attr

from bnn_compiler.ops.functions import FUNCTIONS

_PREFIX = "tirx.bnn_"
#: CallEffectKind.kPure.
_PURE = 1


def call(name: str, x: tvm.ir.Expr, params: Sequence[float] = ()) -> tvm.ir.Expr:
    """The function of a float32 expression. Raises KeyError for an unknown one."""
    literals = [tirx.const(p, "float32") for p in params]
    return tirx.call_intrin("float32", _operator(name), x, *literals)


_registered = set[str]()


def _operator(name: str) -> Op:
    """Registered with TVM; once per process."""
    full = _PREFIX + name
    if name not in _registered:
        _ffi_api.RegisterOp(full, f"bnn_compiler function {name}; see ops/functions.py")
        Op.get(full).set_num_inputs(1 + FUNCTIONS[name].params)
        register_op_attr(full, "TVectorizable", True)
        register_op_attr(full, "TCallEffectKind", _PURE)
        _registered.add(name)
    return Op.get(full)


@dataclass(frozen=True, order=True)
class Called:
    """A function that a kernel calls: its literals, and how many values at once."""

    name: str
    params: tuple[float, ...]
    lanes: int

    @property
    def symbol(self) -> str:
        """A name that says all of it."""
        bits = [f"{np.float32(p).view(np.uint32):08x}" for p in self.params]
        return "_".join(["bnn", self.name, *bits, f"x{self.lanes}"])

    def write(self, text: "Text", x: str) -> str:
        """The chain in ``text``, of the value called ``x``; what the result is called."""
        return str(text.float(FUNCTIONS[self.name].chain(text, x, *self.params)))


def calls_of(f: tirx.PrimFunc) -> tuple[tirx.PrimFunc, list[Called]]:
    """tirx.bnn_square(x)  ->  bnn_square_x16(x), and all that are called."""
    found: set[Called] = set()

    def visit(node: tvm.ir.Call, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
        changed = mutator.default_mutate(node)
        name = changed.op.name if isinstance(changed.op, Op) else ""
        if not name.startswith(_PREFIX):
            return changed
        x, *literals = changed.args
        dtype = str(x.ty.dtype)
        params = tuple(float(_scalar(p).value) for p in literals)
        lanes = int(dtype.removeprefix("float32x")) if dtype != "float32" else 1
        called = Called(name.removeprefix(_PREFIX), params, lanes)
        found.add(called)
        return tirx.call_pure_extern(dtype, called.symbol, x)

    changed = tvm_ffi.structural_mutate(f, [(tvm.ir.Call, visit)])
    return (changed, sorted(found)) if found else (f, [])


def _scalar(literal: tvm.ir.Expr) -> tvm.ir.Expr:
    return literal.value if isinstance(literal, tirx.Broadcast) else literal


class Text:
    """An Arithmetic of names: each operation is a line, by the forms of a language.

    ``forms`` are format strings of the operands: of "where" the condition and two values, and of
    each other operation its own.
    """

    def __init__(self, forms: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._forms = forms

    def float(self, a: Any) -> str:
        """How a value or a number is written."""
        raise NotImplementedError

    def int(self, a: Any) -> str:
        """How bits or an integer are written."""
        raise NotImplementedError

    def _line(self, operation: str, *operands: str) -> str:
        name = self._forms["name"].format(len(self.lines))
        self.lines.append(self._forms[operation].format(*operands, name=name))
        return name

    def fma(self, a: Any, b: Any, c: Any) -> str:
        """See Arithmetic."""
        return self._line("fma", self.float(a), self.float(b), self.float(c))

    def add(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("add", self.float(a), self.float(b))

    def sub(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("sub", self.float(a), self.float(b))

    def div(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("div", self.float(a), self.float(b))

    def sqrt(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("sqrt", self.float(a))

    def absolute(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("absolute", self.float(a))

    def rounded(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("rounded", self.float(a))

    def floor(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("floor", self.float(a))

    def ceil(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("ceil", self.float(a))

    def where(self, condition: Any, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("where", condition, self.float(a), self.float(b))

    def less(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("less", self.float(a), self.float(b))

    def equal(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("equal", self.float(a), self.float(b))

    def bits(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("bits", self.float(a))

    def from_bits(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("from_bits", self.int(a))

    def to_float(self, a: Any) -> str:
        """See Arithmetic."""
        return self._line("to_float", self.int(a))

    def plus(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("plus", self.int(a), self.int(b))

    def minus(self, a: Any, b: Any) -> str:
        """See Arithmetic."""
        return self._line("minus", self.int(a), self.int(b))

    def left(self, a: Any, count: Any) -> str:
        """See Arithmetic."""
        return self._line("left", self.int(a), self.int(count))

    def right(self, a: Any, count: Any) -> str:
        """See Arithmetic."""
        return self._line("right", self.int(a), self.int(count))
