"""The arrays of a network in torch: weight scale and batch norm folded, signs as +-1.

The zoo's sign(0) is +1. Folding rounds differently from torch, so a sum that is almost on a
threshold may get the other sign: outputs agree closely, not exactly.
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import quicknet as quicknets
from benchmarks.peer_weights import (
    BinaryConv,
    BiRealBlock,
    BiRealNet,
    Dense,
    FloatConv,
    Floats,
    QuickNet,
    ReActHalf,
    ReActNet,
    RPReLU,
    Transition,
)
from bnn_compiler.errors import ModelError
from bnn_compiler.nn import BinaryConv2d
from bnn_compiler.zoo import bireal, reactnet

_Module = TypeVar("_Module", bound=nn.Module)


def birealnet18(model: nn.Module) -> BiRealNet:
    """The arrays of a zoo Bi-Real network in eval mode. Raises ModelError for another class."""
    net = _is(model, bireal.BiRealNet)
    blocks = [block for stage in net.stages for block in _children(stage)]
    return BiRealNet(
        _float_conv(net.conv1, net.bn1), tuple(map(bireal_block, blocks)), _dense(net.fc)
    )


def reactnet_a(model: nn.Module) -> ReActNet:
    """The arrays of a zoo ReActNet-A in eval mode. Raises ModelError for another class."""
    net = _is(model, reactnet.ReActNet)
    halves: list[ReActHalf] = []
    for child in net.blocks:
        block = _is(child, reactnet.Block)
        spatial = (_binary_conv(block.conv3, block.bn3),)
        pointwise = tuple(
            _binary_conv(*each) for each in zip(block.points, block.norms, strict=True)
        )
        halves.append(ReActHalf(_shift(block.sign1), spatial, _rprelu(block.act1)))
        halves.append(ReActHalf(_shift(block.sign2), pointwise, _rprelu(block.act2)))
    return ReActNet(_float_conv(net.conv1, net.bn1), tuple(halves), _dense(net.fc))


def quicknet(model: nn.Module) -> QuickNet:
    """The arrays of a QuickNet in eval mode. Raises ModelError for another class."""
    net = _is(model, quicknets.QuickNet)
    return QuickNet(
        _float_conv(net.conv1, net.bn1),
        _float_conv(net.depthwise, net.bn2),
        _float_conv(net.conv3, net.bn3),
        tuple(map(_quick_layer, net.layers)),
        _dense(net.fc),
    )


def _quick_layer(module: nn.Module) -> BinaryConv | Transition:
    if isinstance(module, quicknets.Block):
        return _binary_conv(module.conv, module.bn, pad_value=1)
    transition = _is(module, quicknets.Transition)
    blur = _floats(transition.blur.weight)
    return Transition(
        FloatConv(blur, np.zeros(len(blur), np.float32), 2),
        _float_conv(transition.conv, transition.bn),
    )


def bireal_block(module: nn.Module) -> BiRealBlock:
    """The arrays of one block of a zoo Bi-Real network in eval mode."""
    block = _is(module, bireal.Block)
    down = None
    if not isinstance(block.shortcut, nn.Identity):
        _, conv, norm = _children(block.shortcut)
        down = _float_conv(conv, norm)
    return BiRealBlock(_binary_conv(block.conv, block.bn), down)


def _binary_conv(module: nn.Module, norm: nn.Module, pad_value: int = 0) -> BinaryConv:
    conv = _is(module, BinaryConv2d)
    if conv.padding != conv.weight.shape[2] // 2 or conv.pad_value != pad_value or conv.groups > 1:
        raise ModelError(f"the peer has no binary convolution like {conv}")
    weight = conv.weight.detach()
    scale, bias = _affine(norm)
    if conv.scale:
        scale = scale * weight.abs().mean(dim=(1, 2, 3))
    signs = torch.where(weight >= 0, 1, -1).to(torch.int8)
    return BinaryConv(signs.numpy(), conv.stride, _floats(scale), _floats(bias))


def _float_conv(module: nn.Module, norm: nn.Module) -> FloatConv:
    conv = _is(module, nn.Conv2d)
    scale, bias = _affine(norm)
    weight = conv.weight.detach() * scale[:, None, None, None]
    return FloatConv(_floats(weight), _floats(bias), conv.stride[0])


def _affine(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and bias of a batch norm in eval mode."""
    norm = _is(module, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


def _rprelu(module: nn.Module) -> RPReLU:
    before, prelu, after = _children(module)
    slope = _is(prelu, nn.PReLU).weight
    return RPReLU(_bias(before), _floats(slope), _bias(after))


def _shift(module: nn.Module) -> Floats:
    """The shift of an RSign."""
    return _bias(_children(module)[0])


def _bias(module: nn.Module) -> Floats:
    bias = module.bias
    assert isinstance(bias, Tensor)
    return _floats(bias.flatten())


def _dense(layer: nn.Linear) -> Dense:
    return Dense(_floats(layer.weight), _floats(layer.bias))


def _floats(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().contiguous().numpy()
    return array


def _children(module: nn.Module) -> list[nn.Module]:
    return list(module.children())


def _is(module: nn.Module, kind: type[_Module]) -> _Module:
    if not isinstance(module, kind):
        raise ModelError(f"expected the zoo's {kind.__name__}, got {type(module).__name__}")
    return module
