"""What an epilogue reads of other kernels' values is on its way before the first is needed."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Op, TensorLoad

from bnn_compiler.kernels.cuda.schedule import together

#: Loads of a thread at a time, at most.
_MOST = 8
_PLAIN = (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED)


def loads_ahead(made: Mapping[str, Collection[int]]) -> tvm.transform.Pass:
    """for i: out[i] = f(p[g(i)])  ->  for i: r[i] = p[g(i)]; for i: out[i] = f(r[i])

    Both are unrolled. The compiler takes no load ahead of a store that might change what it reads.
    These do not: no kernel reads what it writes. ``made`` are parameters that other kernels write,
    by symbol.
    """

    def kernel(f: tirx.PrimFunc, mod: tvm.IRModule, ctx: object) -> tirx.PrimFunc:
        numbers = made[str(f.attrs["global_symbol"]).removesuffix("_kernel")]
        # codegen.py names the kernel's parameters.
        names = {f"p{i}{rest}" for i in numbers for rest in ("", "_unaligned")}

        def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            nest = [loop]
            while isinstance(nest[-1].body, tirx.For):
                nest.append(nest[-1].body)
            found = _ahead(nest, names) if _is_epilogue(nest) else None
            return mutator.default_mutate(loop) if found is None else found

        return f.with_body(tvm_ffi.structural_mutate(f.body, [(tirx.For, visit)]))

    return tirx.transform.prim_func_pass(kernel, opt_level=0, name="LoadsAhead")


@dataclass
class _Loads:
    """Loads of a body that can come ahead of it, each with when it is needed, by their text."""

    names: Collection[str]
    inner: set[str]
    guards: list[tvm.ir.Expr] = field(default_factory=list)
    found: dict[str, tuple[TensorLoad, tvm.ir.Expr | None]] = field(default_factory=dict)

    def replace(self, body: tirx.Stmt, registers: Mapping[str, tvm.ir.Expr] | None) -> tirx.Stmt:
        """``body`` with ``registers`` in their place; without them, find what there is."""
        conditional = Op.get("prim.if_then_else")

        def under(guard: tvm.ir.Expr, node: object, mutator: tvm_ffi.StructuralMutator) -> object:
            self.guards.append(guard)
            changed = mutator.mutate(node)
            self.guards.pop()
            return changed

        def load(node: TensorLoad, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            if str(node.source.name) not in self.names or not self._outside(node.indices[0]):
                return mutator.default_mutate(node)
            if not all(map(self._outside, self.guards)):
                return node
            needed = tirx.all(*self.guards) if self.guards else None
            key = f"{node} if {needed}"
            if registers is None:
                self.found[key] = node, needed
                return node
            return registers[key]

        def call(node: Call, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            if not node.op.same_as(conditional):
                return mutator.default_mutate(node)
            condition, value, other = node.args
            value = under(condition, value, mutator)
            return tirx.if_then_else(condition, value, under(tirx.Not(condition), other, mutator))

        def branch(node: tirx.IfThenElse, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            then = under(node.condition, node.then_case, mutator)
            other = node.else_case
            if other is not None:
                other = under(tirx.Not(node.condition), other, mutator)
            return tirx.IfThenElse(node.condition, then, other)

        rules = [(TensorLoad, load), (Call, call), (tirx.IfThenElse, branch)]
        return tvm_ffi.structural_mutate(body, rules)

    def _outside(self, expression: tvm.ir.Expr) -> bool:
        """Whether it has a value before the body begins, and none of memory."""
        plain = [True]

        def load(node: TensorLoad, _: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            plain[0] = False
            return node

        def var(node: tvm.ir.Var, _: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            plain[0] &= str(node.name) not in self.inner
            return node

        tvm_ffi.structural_mutate(expression, [(TensorLoad, load), (tvm.ir.Var, var)])
        return plain[0]


def _is_epilogue(nest: list[tirx.For]) -> bool:
    """Whether it stores to memory, in as many iterations as are known."""
    known = all(
        n.kind in _PLAIN and isinstance(n.extent, tirx.IntImm) and n.step is None for n in nest
    )
    stores = [False]

    def visit(store: tirx.BufferStore, _: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        stores[0] |= bool(re.match(r"p\d+(_unaligned)?$", str(store.buffer.name)))
        return store

    if known:
        tvm_ffi.structural_mutate(nest[-1].body, [(tirx.BufferStore, visit)])
    return known and stores[0]


def _ahead(nest: list[tirx.For], names: Collection[str]) -> tirx.Stmt | None:
    """The loops with loads ahead, some iterations at a time; None if there is nothing to gain."""
    body, extents = nest[-1].body, [int(n.extent) for n in nest]
    loads = _Loads(names, _bound(body))
    loads.replace(body, None)
    if not loads.found or len(loads.found) > _MOST:
        return None
    count = together(extents, _MOST // len(loads.found))
    if count == 1:
        return None
    turns = math.prod(extents) // count
    turn, i = tirx.Var("turn", "int32"), tirx.Var("ahead", "int32")
    at, places, stride = turn * count + i if turns > 1 else i, {}, 1
    for loop in reversed(nest):
        extent = int(loop.extent)
        places[loop.loop_var] = loop.min + at // stride % extent
        stride *= extent

    def placed(node: object) -> object:
        return tvm_ffi.structural_mutate(node, [(tvm.ir.Var, lambda var, _: places.get(var, var))])

    registers, begun, stmts = {}, [], []
    for number, (key, (load, needed)) in enumerate(loads.found.items()):
        dtype = str(load.ty.dtype)
        buffer = tirx.decl_buffer((count,), dtype, f"ahead{number}", scope="local")
        stmts.append(tirx.AllocBuffer(buffer))
        registers[key] = tirx.BufferLoad(buffer, [i])
        value = placed(load)
        if needed is not None:
            value = tirx.if_then_else(placed(needed), value, tirx.const(0, dtype))
        begun.append(tirx.BufferStore(buffer, value, [i]))
    second = tirx.Var("late", "int32")
    done = placed(loads.replace(body, registers))
    done = tvm_ffi.structural_mutate(
        done, [(tvm.ir.Var, lambda var, _: second if var.same_as(i) else var)]
    )
    stmts.append(_unrolled(i, count, begun[0] if len(begun) == 1 else tirx.SeqStmt(begun)))
    stmts.append(_unrolled(second, count, done))
    both = tirx.SeqStmt(stmts)
    return tirx.For(turn, 0, turns, tirx.ForKind.SERIAL, both) if turns > 1 else both


def _unrolled(var: tirx.Var, count: int, body: tirx.Stmt) -> tirx.For:
    return tirx.For(var, 0, count, tirx.ForKind.UNROLLED, body)


def _bound(body: tirx.Stmt) -> set[str]:
    """Names of what has a value only inside."""
    found: set[str] = set()

    def loop(node: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        found.add(str(node.loop_var.name))
        return mutator.default_mutate(node)

    def bind(node: tirx.Bind, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        found.add(str(node.var.name))
        return mutator.default_mutate(node)

    tvm_ffi.structural_mutate(body, [(tirx.For, loop), (tirx.Bind, bind)])
    return found
