"""The leading channels of a tensor."""

import numpy as np
import torch

from bnn_compiler.errors import PlanError
from bnn_compiler.latency.dims import (
    Dim,
    Index,
    Kind,
    Layer,
    Point,
    axes,
    find,
    groups,
    index,
    size,
)


def take(tensor: torch.Tensor, dims: list[Dim], point: Point) -> torch.Tensor:
    """The elements of ``tensor`` that a plan keeps, as a tensor of its own.

    Of a convolution whose groups differ from the full network's, an output's weights are those of
    the channels that it still reads, counted within the group that it had. Counts beyond the full
    network's repeat. Raises PlanError if the weights do not lie side by side with their outputs.
    """
    parts = [axis for d in dims for axis in axes(d)]
    flat = tensor.detach().reshape([p.size for p in parts])
    regrouped = []
    for place, axis in enumerate(parts):
        layer = axis.layer
        if axis.kind is Kind.COLUMNS and layer is not None and groups(layer, point) > 1:
            regrouped.append((place, layer))
            continue
        found = index(layer.inputs if layer is not None else axis, point)
        if layer is not None and layer.groups > 1:
            found = found % axis.size
        if not np.array_equal(found, np.arange(axis.size)):
            flat = flat.index_select(place, torch.from_numpy(found))
    for place, layer in regrouped:
        flat = _columns(flat, parts, place, layer, point)
    return flat.reshape([size(d, point) for d in dims]).clone()


def _columns(
    flat: torch.Tensor, parts: list[Dim], place: int, layer: Layer, point: Point
) -> torch.Tensor:
    """Each row's columns: rows lie along the axis of the layer's outputs."""
    columns = columns_of(layer, parts[place].size, point)
    rows = next((i for i, p in enumerate(parts) if p is find(layer.outputs)), None)
    if (columns == columns[0]).all():
        return flat.index_select(place, torch.from_numpy(columns[0]))
    if rows is None:
        raise PlanError(
            f"{layer.path}: its weights are not stored by output, so groups cannot vary"
        )
    each = np.repeat(columns, flat.shape[rows] // len(columns), axis=0)
    shape = list(flat.shape)
    shape[place] = each.shape[1]
    each = each if rows < place else each.T
    view = [1] * len(shape)
    view[rows], view[place] = shape[rows], shape[place]
    return flat.gather(place, torch.from_numpy(each).reshape(view).expand(shape))


def columns_of(layer: Layer, columns: int, point: Point) -> Index:
    """[groups, columns kept]: of a full network's ``columns`` the ones that each group reads."""
    channels = index(layer.inputs, point)
    return channels.reshape(groups(layer, point), -1) % columns


def with_zeros(tensor: torch.Tensor, wanted: bool) -> torch.Tensor:
    """A tensor that has an element 0, or none, whatever it had."""
    zero = tensor == 0
    if wanted == bool(zero.any()):
        return tensor
    if wanted:
        tensor.reshape(-1)[0] = 0
        return tensor
    return torch.where(zero, tensor.abs().max().clamp(min=1e-3), tensor)
