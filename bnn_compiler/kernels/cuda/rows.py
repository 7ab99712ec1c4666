"""Pixels of all images as the rows of one matrix: tiles of it need not end where images do."""

from dataclasses import dataclass, replace

import tvm
import tvm_ffi
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.ops.rounding import ceil_div


@dataclass(frozen=True)
class Rows:
    """The pixels of ``shape`` [N, OH, OW, O], then repetitions of the last one up to ``count``."""

    shape: tuple[int, int, int, int]
    count: int

    @property
    def real(self) -> int:
        """Pixels that there are."""
        n, h, w, _ = self.shape
        return n * h * w

    def pixel(self, row: tvm.ir.Expr) -> tuple[tvm.ir.Expr, tvm.ir.Expr, tvm.ir.Expr]:
        """(n, y, x) of a row."""
        _, h, w, _ = self.shape
        if self.count > self.real:
            row = tirx.min(row, self.real - 1)
        return row // (h * w), row // w % h, row % w

    def place(self, row: tvm.ir.Expr) -> tuple[tuple[tvm.ir.Expr, ...], tvm.ir.Expr | None]:
        """The same without the repetitions, and whether there is such a pixel; None if always."""
        _, h, w, _ = self.shape
        exists = row < self.real if self.count > self.real else None
        return (row // (h * w), row // w % h, row % w), exists

    def outputs(self, stages: Stages, lanes: int) -> Stages:
        """The same with every output a copy of its own, "out<i>" [1, 1, count, ...].

        They have the words and channels of ``lanes``.
        """
        packed = [tensor for tensor, _ in stages.bits]
        copies = []
        for i, tensor in enumerate(stages.outputs):
            last = ceil_div(lanes, WORD) if tensor in packed else lanes
            copies.append(_copy(tensor, (1, 1, self.count, last), f"out{i}"))
        return replace(stages, outputs=copies)

    def scatter(self, function: tirx.PrimFunc) -> tirx.PrimFunc:
        """out[0, 0, m, c] = v  ->  if m exists: out[n, y, x, c] = v, of every "out<i>"."""
        n, h, w, _ = self.shape
        flat = [p for p in function.params if str(p.name).startswith("out")]
        images = {
            p: tirx.decl_buffer((n, h, w, p.ty.shape[3]), p.ty.dtype, str(p.name)) for p in flat
        }

        def store(node: tirx.BufferStore, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            image = images.get(node.buffer)
            if image is None:
                return mutator.default_mutate(node)
            _, _, m, c = node.indices
            value = mutator.mutate(node.value)
            at, exists = self.place(m)
            stored = tirx.BufferStore(image, value, [*at, c])
            return stored if exists is None else tirx.IfThenElse(exists, stored, None)

        def block(node: s_tir.SBlock, mutator: tvm_ffi.StructuralMutator) -> s_tir.SBlock:
            made = mutator.default_mutate(node)
            writes = [
                tirx.BufferRegion(images[r.source], _everything(images[r.source]))
                if r.source in images
                else r
                for r in made.writes
            ]
            return s_tir.SBlock(
                made.iter_vars, made.reads, writes, made.name_hint, made.body, made.init,
                made.alloc_buffers, made.match_buffers, made.annotations,
            )  # fmt: skip

        body = tvm_ffi.structural_mutate(
            function.body, [(tirx.BufferStore, store), (s_tir.SBlock, block)]
        )
        params = [images.get(p, p) for p in function.params]
        return tirx.PrimFunc(params, body, function.ret_type, function.attrs)


def _copy(tensor: te.Tensor, shape: tuple[int, ...], name: str) -> te.Tensor:
    return te.compute(shape, lambda *at: tensor[at], name=name)


def _everything(buffer: tirx.Var) -> list[tvm.ir.Range]:
    return [tvm.ir.Range.from_min_extent(0, extent) for extent in buffer.ty.shape]
