import torch

from bnn_compiler.nn import LeakyClip, RPReLU, RSign
from tests.author_style import MaskedLeakyClip


def test_rsign_compares_with_a_threshold_per_channel():
    layer, x = RSign(3), torch.randn(2, 3, 4, 4)
    shift = torch.tensor([0.5, 0.0, -0.5])
    layer[0].bias.data[0, :, 0, 0] = shift
    assert torch.equal(layer(x) > 0, x >= -shift.reshape(1, 3, 1, 1))


def test_rprelu_shifts_before_and_after():
    layer, x = RPReLU(2), torch.linspace(-2, 2, 32).reshape(1, 2, 4, 4)
    before, slope, after = torch.rand(3, 2) - 0.5
    for module, value in zip(layer, (before, slope, after), strict=True):
        parameter = next(module.parameters())
        parameter.data = value.reshape(parameter.shape)
    before, slope, after = (v.reshape(1, 2, 1, 1) for v in (before, slope, after))
    shifted = x + before
    wanted = torch.where(shifted >= 0, shifted, slope * shifted) + after
    torch.testing.assert_close(layer(x), wanted)


def test_leaky_clip_is_the_authors_mask_arithmetic():
    x = torch.linspace(-3, 3, 61)
    torch.testing.assert_close(LeakyClip()(x), MaskedLeakyClip()(x))
