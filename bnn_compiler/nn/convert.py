"""A network's binary layers changed: the steps in which the papers train them.

Each function returns a copy whose ``state_dict`` has the same keys and shapes, so a checkpoint of
one step loads into the next. Each raises ModelError if the model has no layer to change.
"""

import copy
from collections.abc import Iterator

import torch
from torch import nn

from bnn_compiler.errors import ModelError
from bnn_compiler.nn.conv import BinaryConv2d, BinaryLinear


def real_weights(model: nn.Module) -> nn.Module:
    """Step 1 of ReActNet (Liu et al., ECCV 2020): binary activations, real weights."""
    model = copy.deepcopy(model)
    for layer in _layers(model):
        layer.real_weights = True
    return model


def binary_weights(model: nn.Module) -> nn.Module:
    """Step 2 of ReActNet: the weights of step 1 become the latent weights of binary ones."""
    model = copy.deepcopy(model)
    for layer in _layers(model):
        layer.real_weights = False
    return model


def exact_signs(model: nn.Module) -> nn.Module:
    """Weights exactly -1 / +1, frozen; the scale is gone (Bi-Real Net, Liu et al., ECCV 2018).

    The last step of its published training: batch norms are then trained, or recomputed, for an
    epoch, because they absorb what the scale did.
    """
    model = copy.deepcopy(model)
    for layer in _layers(model):
        layer.weight.data = torch.where(layer.weight.data >= 0, 1.0, -1.0)
        layer.weight.requires_grad_(False)
        layer.real_weights = False
        if isinstance(layer, BinaryConv2d):
            layer.scale = False
    return model


def _layers(model: nn.Module) -> Iterator[BinaryConv2d | BinaryLinear]:
    layers = [m for m in model.modules() if isinstance(m, (BinaryConv2d, BinaryLinear))]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no binary layer")
    yield from layers
