"""Random weights and statistics under which no layer is degenerate."""

import torch
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, BinaryLinear, Sign
from bnn_compiler.nn.activation import Shift

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_BINARY = (BinaryConv2d, BinaryLinear)
_WEIGHTED = (*_BINARY, nn.Conv2d, nn.Linear)


class _Draw:
    """Uniform and normal tensors of one seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, shape: torch.Size, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def normal(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator)


@torch.no_grad()
def randomize(model: nn.Module, example: Tensor, *, seed: int = 0, signed: bool = False) -> None:
    """Draw every parameter from ``seed``, then fit statistics and biases to random images.

    Every batch norm gets the images' statistics, and the bias in front of every sign, if there is
    one, is moved so that both signs are common in each channel. The images have the shape of
    ``example`` [N, C, ...], whose values and N are not used. ``signed`` makes a third of the
    batch-norm gains negative and a few zero, whose channels are then constant. Leaves the model in
    eval mode.
    """
    draw = _Draw(seed)
    for module in model.modules():
        _draw_parameters(module, draw, signed)
    # The last maps may have one pixel: small images need more of them for their statistics.
    count = min(max(65536 // example[0, 0].numel(), 4), 64)
    _calibrate(model, draw.normal(torch.Size([count, *example.shape[1:]])), draw)
    model.eval()


def _draw_parameters(module: nn.Module, draw: _Draw, signed: bool) -> None:
    if isinstance(module, _NORMS):
        module.weight.copy_(draw.uniform(module.weight.shape, 0.5, 1.5))
        module.bias.copy_(draw.uniform(module.bias.shape, -0.3, 0.3))
        if signed:
            module.weight[::3] *= -1
            module.weight[5::11] = 0
    elif isinstance(module, Shift):
        module.bias.copy_(draw.uniform(module.bias.shape, -0.3, 0.3))
    elif isinstance(module, nn.PReLU):
        module.weight.copy_(draw.uniform(module.weight.shape, 0.05, 0.5))
    elif isinstance(module, _WEIGHTED):
        weight = draw.normal(module.weight.shape) / module.weight[0].numel() ** 0.5
        if isinstance(module, _BINARY) and not getattr(module, "scale", False):
            # As Bop leaves them: no latent weights.
            weight = torch.where(weight >= 0, 1.0, -1.0)
        module.weight.copy_(weight)
        bias = getattr(module, "bias", None)
        if bias is not None:
            bias.copy_(draw.uniform(bias.shape, -0.1, 0.1))


def _calibrate(model: nn.Module, images: Tensor, draw: _Draw) -> None:
    """One training-mode pass that sets statistics and biases in the order of execution."""
    biases: list[Tensor] = []

    def remember(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            biases[:] = [bias]
        elif isinstance(module, _BINARY):
            # Biases in front of it no longer shift what comes.
            biases.clear()

    def centre(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        (x,) = args
        if not biases or biases[0].numel() != x.shape[1]:
            return
        values = x.transpose(0, 1).flatten(1)
        spread = values.std(1)
        wanted = spread * draw.uniform(spread.shape, -0.4, 0.4)
        move = torch.where(spread > 0, wanted - values.mean(1), 0.0)
        biases[0] += move.reshape(biases[0].shape)
        # In place, because the shortcut reads the same tensor.
        x += move.reshape(1, -1, *[1] * (x.dim() - 2))

    norms = [m for m in model.modules() if isinstance(m, _NORMS)]
    momenta = [norm.momentum for norm in norms]
    handles = [
        m.register_forward_pre_hook(centre)
        if isinstance(m, Sign)
        else m.register_forward_hook(remember)
        for m in model.modules()
        if isinstance(m, (Sign, Shift, *_NORMS, *_WEIGHTED))
    ]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for handle in handles:
        handle.remove()
