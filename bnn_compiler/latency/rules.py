"""What each ATen operator says about the dimensions of what it reads and gives.

An operator without a rule fixes every dimension that it touches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from bnn_compiler.frontend.pytorch.trace import argument, arguments, op_name
from bnn_compiler.latency.cuts import Cut, is_cut, repeated, repetition
from bnn_compiler.latency.dims import (
    Dim,
    Kind,
    Layer,
    fixed,
    pin,
    product,
    regroup,
    total,
    unify,
)

Dims = list[Dim]


@dataclass
class Analysis:
    """``values``: the dimensions of each node's tensor, or of each of its tensors.

    ``cuts``: what gives a sum as many channels as it has, of the nodes that ``may_cut``.
    """

    may_cut: Callable[[Node], bool] = is_cut

    values: dict[Node, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    cuts: dict[Node, Cut] = field(default_factory=dict)

    def of(self, node: Any) -> Dims | None:
        """The dimensions of a tensor; None for anything else."""
        found = self.values.get(node) if isinstance(node, Node) else None
        return found if isinstance(found, list) else None

    def parameters(self) -> list[Node]:
        """The nodes of parameters, buffers and other constants."""
        return [n for n in self.values if n.op == "get_attr"]

    def call(self, node: Node) -> None:
        """Add an operator."""
        rule = RULES.get(op_name(node))
        if rule is None and _is_pointwise(node):
            rule = _pointwise
        result = rule(self, node) if rule else None
        self.values[node] = self._unknown(node) if result is None else result

    def _unknown(self, node: Node) -> Any:
        for source in node.all_input_nodes:
            self.pin(self.values.get(source))
        return _fixed(node.meta.get("val"))

    def pin(self, dims: Any) -> None:
        """Fix dimensions, or those of several tensors."""
        for d in dims or ():
            pin(d) if isinstance(d, Dim) else self.pin(d)


Rule = Callable[[Analysis, Node], Any]


def _fixed(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [fixed(int(s)) for s in value.shape]
    return tuple(_fixed(v) for v in value) if isinstance(value, list | tuple) else None


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(int(s) for s in node.meta["val"].shape)


def _is_pointwise(node: Node) -> bool:
    tags = getattr(node.target, "tags", ())
    return torch.Tag.pointwise in tags and isinstance(node.meta.get("val"), torch.Tensor)


def _pointwise(analysis: Analysis, node: Node) -> Dims | None:
    """Broadcasting: dimensions meet from the last one on; one of size 1 fits any."""
    shape = _shape(node)
    result: list[Dim | None] = [None] * len(shape)
    for source in node.all_input_nodes:
        dims = analysis.of(source)
        if dims is None:
            return None
        for i, d in enumerate(reversed(dims)):
            place = len(shape) - 1 - i
            if d.size != shape[place]:
                continue
            known = result[place]
            if known is None:
                result[place] = d
            else:
                unify(known, d)
    return [d or fixed(s) for d, s in zip(result, shape, strict=True)]


def _alias(analysis: Analysis, node: Node) -> Dims | None:
    """A slice that torch found to be whole is one too."""
    x = analysis.of(node.args[0])
    cut = x is not None and len(x) == 4 and analysis.may_cut(node)
    return _cut(analysis, node, x) if x is not None and cut else _same(analysis, node)


def _same(analysis: Analysis, node: Node) -> Dims | None:
    """The first argument's dimensions."""
    dims = analysis.of(node.args[0])
    return dims if dims and _shape(node) == tuple(d.size for d in dims) else None


def _expand(analysis: Analysis, node: Node) -> Dims | None:
    """A dimension of size 1 becomes as large as another tensor's, or as whatever it meets."""
    dims, shape = analysis.of(node.args[0]), _shape(node)
    other = analysis.of(node.args[1]) if op_name(node) == "expand_as" else None
    if dims is None:
        return None
    dims = [fixed(1)] * (len(shape) - len(dims)) + dims
    like = other or [Dim(s) if s > 1 else fixed(1) for s in shape]
    for d, o in zip(dims, like, strict=True):
        if d.size == o.size:
            unify(d, o)
    return [d if d.size == s else o for d, o, s in zip(dims, like, shape, strict=True)]


def _convolution(analysis: Analysis, node: Node) -> Dims | None:
    x, w = (analysis.of(a) for a in node.args[:2])
    bias, groups = argument(node, "bias"), int(argument(node, "groups") or 1)
    if x is None or w is None or len(x) != 4 or argument(node, "transposed"):
        return None
    analysis.pin(x[2:] + w[2:])
    path = str(node.meta.get("module_path", ""))
    taps = w[2].size * w[3].size
    layer = Layer(path, node.name, x[1], w[0], groups, taps)
    analysis.layers.append(layer)
    if layer.depthwise:
        multiplier = w[0].size // x[1].size
        unify(w[0], product([x[1], fixed(multiplier)]) if multiplier > 1 else x[1])
    elif groups > 1 or w[1].size > 1:
        unify(w[1], Dim(w[1].size, Kind.COLUMNS, layer=layer))
    if bias is not None:
        unify((analysis.of(bias) or [fixed(w[0].size)])[0], w[0])
    return [x[0], w[0], *(fixed(s) for s in _shape(node)[2:])]


def _linear(analysis: Analysis, node: Node) -> Dims | None:
    x, w = (analysis.of(a) for a in node.args[:2])
    bias = argument(node, "bias")
    if x is None or w is None:
        return None
    unify(w[1], x[-1])
    if bias is not None:
        unify((analysis.of(bias) or [fixed(w[0].size)])[0], w[0])
    path = str(node.meta.get("module_path", ""))
    analysis.layers.append(Layer(path, node.name, x[-1], w[0], convolution=False))
    return [*x[:-1], w[0]]


def _batch_norm(analysis: Analysis, node: Node) -> Any:
    x, *vectors = (analysis.of(a) for a in node.args[:5])
    if x is None or len(x) < 2:
        return None
    for vector in vectors:
        if vector is not None:
            unify(vector[0], x[1])
    several = isinstance(node.meta.get("val"), list | tuple)
    return (x, *_fixed(node.meta["val"][1:])) if several else x


def _prelu(analysis: Analysis, node: Node) -> Dims | None:
    x, slope = (analysis.of(a) for a in node.args[:2])
    if x is None or slope is None:
        return None
    if slope[-1].size > 1 and len(slope) == 1:
        unify(slope[0], x[1] if len(x) > 1 else x[0])
    elif len(slope) > 1:
        return _pointwise(analysis, node)
    return x


def _spatial(analysis: Analysis, node: Node) -> Any:
    """Pools, padding and resizing: batch and channels stay if their sizes do."""
    x = analysis.of(node.args[0])
    if x is None or len(x) != 4:
        return None
    analysis.pin(x[2:])
    several = isinstance(node.meta["val"], list | tuple)
    shapes = [tuple(v.shape) for v in (node.meta["val"] if several else [node.meta["val"]])]
    for d, s in zip(x[:2], shapes[0][:2], strict=True):
        if d.size != s:
            return None
    results = [[*x[:2], *(fixed(int(s)) for s in shape[2:])] for shape in shapes]
    return tuple(results) if several else results[0]


def _pad(analysis: Analysis, node: Node) -> Any:
    x = analysis.of(node.args[0])
    return (
        _cut(analysis, node, x)
        if x is not None and analysis.may_cut(node)
        else _spatial(analysis, node)
    )


def _cut(analysis: Analysis, node: Node, x: Dims) -> Dims:
    """The channels that a sum has, of others."""
    repeat = repetition(node)
    source = x[1]
    if repeat is not None:
        source = (analysis.of(repeated(repeat)) or x)[1]
    target = Dim(_shape(node)[1])
    path = str(node.meta.get("module_path", ""))
    pads = op_name(node) in ("pad", "constant_pad_nd")
    analysis.cuts[node] = Cut(source, target, path, repeat, pads)
    return [x[0], target, *x[2:]]


def _repeat(analysis: Analysis, node: Node) -> Dims | None:
    """Along the channels, for cuts; or not at all."""
    x, times = analysis.of(node.args[0]), list(node.args[1])  # type: ignore[arg-type]
    if x is None or len(times) != len(x):
        return None
    if repeated(node) is not None and times[1] > 1:
        return [x[0], total([x[1]] * times[1]), *x[2:]]
    return x if all(t == 1 for t in times) else None


def _reduce(analysis: Analysis, node: Node) -> Dims | None:
    x = analysis.of(node.args[0])
    if x is None or not isinstance(node.meta.get("val"), torch.Tensor):
        return None
    given = argument(node, "dim")
    listed = [given] if isinstance(given, int) else list(given or range(len(x)))
    gone = {int(d) % len(x) for d in listed} if x else set()
    if argument(node, "keepdim"):
        return [fixed(1) if i in gone else d for i, d in enumerate(x)]
    return [d for i, d in enumerate(x) if i not in gone]


def _reshape(analysis: Analysis, node: Node) -> Dims | None:
    x = analysis.of(node.args[0])
    if x is None or not isinstance(node.meta.get("val"), torch.Tensor):
        return None
    return regroup(x, _shape(node))


def _permute(analysis: Analysis, node: Node) -> Dims | None:
    x = analysis.of(node.args[0])
    if x is None:
        return None
    args, name = arguments(node)[0], op_name(node)
    order = list(range(len(x)))
    if name == "permute":
        order = [int(a) % len(x) for a in args[1]]
    elif name == "transpose":
        i, j = (int(a) % len(x) for a in args[1:3])
        order[i], order[j] = order[j], order[i]
    else:
        order.reverse()
    return [x[i] for i in order]


def _cat(analysis: Analysis, node: Node) -> Dims | None:
    sources = node.args[0]
    assert isinstance(sources, Sequence)
    parts = [analysis.of(s) for s in sources]
    known = [p for p in parts if p is not None]
    if len(known) != len(parts) or len({len(p) for p in known}) != 1:
        return None
    axis = int(argument(node, "dim") or 0) % len(known[0])
    for other in known[1:]:
        for i, (a, b) in enumerate(zip(known[0], other, strict=True)):
            if i != axis:
                unify(a, b)
    result = list(known[0])
    result[axis] = total([p[axis] for p in known])
    return result


def _slice(analysis: Analysis, node: Node) -> Any:
    """Along a dimension that is cut nothing moves, except before a sum; one that is taken whole
    stays what it is.
    """
    x = analysis.of(node.args[0])
    if x is None:
        return None
    if len(x) == 4 and analysis.may_cut(node):
        return _cut(analysis, node, x)
    axis = int(argument(node, "dim") or 0) % len(x)
    if op_name(node) == "slice" and _shape(node)[axis] == x[axis].size:
        return x
    pin(x[axis])
    if op_name(node) == "select":
        return x[:axis] + x[axis + 1 :]
    several = isinstance(node.meta["val"], list | tuple)
    cut = [
        [*x[:axis], fixed(int(v.shape[axis])), *x[axis + 1 :]]
        for v in (node.meta["val"] if several else [node.meta["val"]])
    ]
    return tuple(cut) if several else cut[0]


def _item(analysis: Analysis, node: Node) -> Any:
    source = analysis.values.get(node.args[0])  # type: ignore[arg-type]
    place = node.args[1]
    return source[place] if isinstance(source, tuple) and isinstance(place, int) else None


def _nothing(_: Analysis, node: Node) -> Any:
    return ()


def _all(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


#: ATen operator, without its overload -> rule; those that torch tags as pointwise need none.
RULES: dict[str, Rule] = {
    **_all(_convolution, "conv2d", "convolution"),
    "linear": _linear,
    **_all(_batch_norm, "batch_norm", "_native_batch_norm_legit_no_training"),
    **_all(_prelu, "prelu", "_prelu_kernel"),
    **_all(_pointwise, "hardtanh", "relu6", "leaky_relu", "rrelu", "where"),
    **_all(_pointwise, "hardswish", "log_sigmoid"),
    **_all(_same, "to", "_to_copy", "type_as", "detach", "detach_", "clone"),
    "alias": _alias,
    **_all(_same, "contiguous", "lift_fresh_copy", "zeros_like", "ones_like", "full_like"),
    **_all(_same, "dropout", "feature_dropout", "alpha_dropout", "softmax", "log_softmax"),
    **_all(_expand, "expand", "expand_as"),
    **_all(_spatial, "max_pool2d", "max_pool2d_with_indices", "avg_pool2d"),
    **_all(_spatial, "adaptive_avg_pool2d", "adaptive_max_pool2d"),
    **_all(_pad, "pad", "constant_pad_nd"),
    "repeat": _repeat,
    **_all(_spatial, "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d"),
    **_all(_reduce, "mean", "sum", "amax", "amin", "std", "var", "prod", "norm"),
    **_all(_reduce, "linalg_vector_norm", "logsumexp"),
    **_all(_reshape, "view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze"),
    **_all(_permute, "permute", "transpose", "t", "numpy_T"),
    "cat": _cat,
    **_all(_slice, "slice", "select", "split", "split_with_sizes", "chunk"),
    "getitem": _item,
    **_all(_nothing, "_assert_tensor_metadata", "_assert_scalar"),
}
