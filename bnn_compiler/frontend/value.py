"""What the builder's operators take and give, and where an operator is."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.frontend.oracle import Origin
from bnn_compiler.ops import relax_ops as ops


@dataclass(frozen=True)
class Value:
    """A computed tensor: ``expr`` is NHWC; ``flat`` if its framework sees it as [N, C*H*W].

    The ``expr`` of a ``plain`` one is dense and has the framework's own shape, of any rank;
    ``image`` has its elements as an image where that is known, [N, C, 1, L] for [N, C, L].
    ``tokens`` is an image whose channels are its last dimension: [N, H, W, C] of [..., C], in its
    own order. ``signs`` says what a plain value of signs is made of.
    """

    expr: relax.Expr
    flat: bool = False
    plain: bool = False
    image: "Value | None" = None
    tokens: "Value | None" = None
    signs: "Signs | None" = None

    @property
    def is_vector(self) -> bool:
        """Whether each feature of a flat value is a channel: [N, 1, 1, F]."""
        return self.flat and ops.shape_of(self.expr)[1:3] == (1, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that its framework sees: [N, C, H, W], [N, F], or any of a plain one."""
        if self.plain:
            return ops.shape_of(self.expr)
        n, h, w, c = ops.shape_of(self.expr)
        return (n, c * h * w) if self.flat else (n, c, h, w)

    @property
    def stored(self) -> tuple[int, ...]:
        """[N, H, W, C], as a buffer has it; [1, 1, 1, size] of a plain one."""
        shape = ops.shape_of(self.expr)
        return (1, 1, 1, math.prod(shape)) if self.plain else shape

    @property
    def forms(self) -> "list[tuple[Value, bool]]":
        """The images that have its elements, or itself, and whether they are tokens; variables."""
        images = [(v, last) for v, last in ((self.image, False), (self.tokens, True)) if v]
        found = images or [(self, False)]
        return [(v, last) for v, last in found if isinstance(v.expr, relax.Var)]

    @property
    def channels(self) -> int:
        """The last dimension of ``expr``: what a constant per channel has."""
        return ops.shape_of(self.expr)[3]


@dataclass(frozen=True)
class Signs:
    """shift + scale * sign(``source``), where ``zero`` is sign(0); ``source`` is plain.

    ``origin`` says which of the framework's values the signs alone are, its name is ``name``.
    """

    source: Value
    zero: int
    scale: float
    shift: float
    origin: Origin
    name: str
    #: Before its last move, if that was a permutation.
    before: "Signs | None" = None

    def alone(self) -> "Signs":
        """The signs, neither scaled nor shifted."""
        before = self.before.alone() if self.before else None
        return replace(self, scale=1.0, shift=0.0, before=before)


@dataclass(frozen=True)
class Place:
    """The operator that is being imported.

    ``name`` is what its framework calls its value, ``layer`` the path of its layer ("" for none),
    ``text`` what an error calls both.
    """

    name: str
    layer: str
    text: str


def squeeze_equal(constant: NDArray[Any]) -> NDArray[Any]:
    """An expanded constant without its repetition over batch, height and width."""
    if constant.ndim != 4:
        return constant
    core = constant[:1, :, :1, :1]
    return core if np.array_equal(np.broadcast_to(core, constant.shape), constant) else constant


def is_image(constant: NDArray[Any], x: Value) -> bool:
    """Whether a constant differs by place in an image, or by image."""
    if x.flat or constant.ndim > 4 or constant.size == 1:
        return False
    full = squeeze_equal(constant.reshape((1,) * (4 - constant.ndim) + constant.shape))
    sizes = zip(full.shape, x.shape, strict=True)
    return all(s in (1, wanted) for s, wanted in sizes) and full.shape != (1, full.shape[1], 1, 1)


def channels_last(weight: NDArray[Any]) -> relax.Expr:
    """A constant [O, C, H, W] as [O, H, W, C]."""
    return relax.const(np.ascontiguousarray(weight.transpose(0, 2, 3, 1), np.float32))
