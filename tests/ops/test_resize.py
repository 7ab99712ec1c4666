import numpy as np
import pytest
import torch
from torch.nn import functional

from bnn_compiler.ops.resize import resize_tables

FACTORS = (0.31, 0.5, 0.7, 1.0, 1.1877237, 1.3, 2.0, 2.0091781800455975, 3.0, 3.7)


def cases():
    """(size of the source, keywords of interpolate, factor of the tables)"""
    for size in (1, 2, 3, 7, 9, 16, 33, 65):
        for factor in FACTORS:
            if int(size * factor) >= 1:
                yield size, {"scale_factor": (factor, 1.0)}, factor
        for new in (1, 2, 5, 14, 40, 129):
            yield size, {"size": (new, 3)}, 0.0


@pytest.mark.parametrize(
    "mode, transform", [("nearest", "asymmetric"), ("nearest-exact", "half_pixel")]
)
def test_nearest_reads_the_rows_that_pytorch_reads(mode, transform):
    for size, keywords, factor in cases():
        rows = torch.arange(size, dtype=torch.float32).reshape(1, 1, size, 1).repeat(1, 1, 1, 3)
        wanted = functional.interpolate(rows, mode=mode, **keywords)[0, 0, :, 0].numpy()
        if mode == "nearest" and len(wanted) in (size, 2 * size):
            continue  # the importer's tests: PyTorch's kernel depends on the size of the image
        first, second, weight = resize_tables(
            size, len(wanted), "nearest_neighbor", transform, factor
        )
        assert np.array_equal(first, wanted), (size, keywords)
        assert np.array_equal(second, first) and not weight.any()


@pytest.mark.parametrize("align", [False, True])
def test_bilinear_weighs_rows_as_pytorch_does(align):
    transform = "align_corners" if align else "half_pixel"
    for size, keywords, factor in cases():
        # Image r is 1 in row r: its resize is the weight of that row.
        rows = torch.eye(size).reshape(size, 1, size, 1).repeat(1, 1, 1, 3)
        wanted = functional.interpolate(rows, mode="bilinear", align_corners=align, **keywords)
        wanted = wanted[:, 0, :, 0].T.numpy()
        first, second, weight = resize_tables(size, len(wanted), "linear", transform, factor)
        found = np.zeros_like(wanted)
        np.add.at(found, (np.arange(len(wanted)), first), 1 - weight)
        np.add.at(found, (np.arange(len(wanted)), second), weight)
        np.testing.assert_allclose(found, wanted, atol=5e-6, rtol=0, err_msg=str((size, keywords)))
