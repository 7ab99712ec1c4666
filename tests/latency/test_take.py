"""The leading channels of tensors, of weights of other groups too."""

import pytest
import torch

from bnn_compiler.errors import PlanError
from bnn_compiler.latency.dims import Dim, Kind, Layer, fixed, product, total, unify
from bnn_compiler.latency.take import take, with_zeros


def leaf(size, position):
    return Dim(size, position=position)


def grouped(inputs, outputs, groups):
    """A layer's weight [O, C/groups] and its dimensions; a point is (inputs, outputs, groups)."""
    layer = Layer("conv", "conv", leaf(inputs, 0), leaf(outputs, 1), groups, position=2)
    columns = Dim(inputs // groups, Kind.COLUMNS, layer=layer)
    weight = torch.arange(outputs * inputs // groups).reshape(outputs, -1).float()
    return weight, [layer.outputs, columns]


def test_leading_rows_and_columns():
    weight, dims = grouped(6, 4, 1)
    assert torch.equal(take(weight, dims, (4, 3, 1)), weight[:3, :4])


def test_a_copy_of_its_own():
    weight, dims = grouped(6, 4, 1)
    take(weight, dims, (6, 4, 1)).zero_()
    assert weight.any()


def test_more_groups_keep_the_channels_that_they_read():
    weight, dims = grouped(6, 4, 1)
    assert torch.equal(take(weight, dims, (6, 4, 2)), torch.cat([weight[:2, :3], weight[2:, 3:]]))
    assert torch.equal(take(weight, dims, (4, 4, 4)), weight[:, :4].diagonal()[:, None])


def test_groups_within_groups():
    weight, dims = grouped(8, 8, 2)
    assert torch.equal(take(weight, dims, (8, 8, 2)), weight)
    kept = take(weight, dims, (8, 8, 4))
    assert torch.equal(
        kept, torch.cat([weight[i : i + 2, i % 4 : i % 4 + 2] for i in (0, 2, 4, 6)])
    )


def test_columns_of_a_sum_of_groups():
    a, b = leaf(3, 0), leaf(4, 1)
    layer = Layer("conv", "conv", total([a, b]), fixed(2), position=2)
    weight = torch.arange(14.0).reshape(2, 7)
    dims = [layer.outputs, Dim(7, Kind.COLUMNS, layer=layer)]
    assert torch.equal(take(weight, dims, (2, 3, 1)), weight[:, [0, 1, 3, 4, 5]])


def test_inputs_after_a_flatten():
    weight = torch.arange(2 * 12.0).reshape(2, 12)
    kept = take(weight, [fixed(2), product([leaf(3, 0), fixed(4)])], (2,))
    assert torch.equal(kept, weight[:, :8])


def test_flat_weights():
    weight, (rows, columns) = grouped(6, 4, 1)
    flat = product([rows, columns])
    assert torch.equal(take(weight.reshape(-1, 1), [flat, fixed(1)], (3, 2, 1))[:, 0],
                       weight[:2, :3].reshape(-1))  # fmt: skip


def test_weights_without_outputs_cannot_be_regrouped():
    weight, (_, columns) = grouped(6, 4, 1)
    assert torch.equal(take(weight[0], [columns], (4, 4, 1)), weight[0, :4])
    with pytest.raises(PlanError, match="conv: its weights are not stored by output"):
        take(weight[0], [columns], (4, 4, 2))


def test_shared_leaves():
    a, b = leaf(5, 0), leaf(5, -1)
    unify(b, a)
    assert take(torch.arange(5), [b], (2,)).tolist() == [0, 1]


def test_zeros_on_demand():
    some, none = torch.tensor([[0.0, -2.0]]), torch.tensor([[1.0, -2.0]])
    assert with_zeros(some, True).tolist() == [[0.0, -2.0]]
    assert with_zeros(some, False).tolist() == [[2.0, -2.0]]
    assert with_zeros(none, False).tolist() == [[1.0, -2.0]]
    assert with_zeros(none, True).tolist() == [[0.0, -2.0]]
