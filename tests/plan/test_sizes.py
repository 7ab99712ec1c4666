import pytest
import torch
from torch import nn

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.plan import plan, sizes
from tests.network import fused


def test_bits_are_indexed_by_half_words():
    assert sizes.elements(Layout((2, 3, 3, 40), "float32", (1, 1, 1, 1))) == 2 * 5 * 5 * 48
    assert sizes.elements(Layout((2, 3, 3, 40), "uint32")) == 2 * 3 * 3 * 4


def test_a_batch_that_is_too_large_is_told_what_would_do():
    model = nn.Sequential(Sign(), BinaryConv2d(64, 64, 3, padding=1)).eval()

    def planned(batch):
        # One image, wherever it is read.
        return plan.plan(fused(model, torch.zeros(1, 64, 56, 56).expand(batch, -1, -1, -1)))

    words = "20000x64x56x56 is 4014080000 elements .*a batch of at most 10616, and run"
    with pytest.raises(UnsupportedError, match=words):
        planned(20000)
    assert planned(10616).calls
