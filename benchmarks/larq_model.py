"""Networks as Keras models with Larq's layers; imported in Larq's own environment only.

Keras pads an even image in front of a stride of 2 at its end only, PyTorch at its start. So a
network is mirrored as a whole, images and kernels, and computes the same.
"""

from functools import singledispatch
from typing import Any

import larq
import numpy as np
import tensorflow as tf

from benchmarks.peer_weights import (
    BinaryConv,
    BiRealNet,
    Dense,
    FloatConv,
    Floats,
    QuickNet,
    Transition,
)

_layers = tf.keras.layers


def keras_model(net: BiRealNet | QuickNet, shape: tuple[int, ...]) -> Any:
    """The model for images of `shape` [n, c, h, w], which it takes as [n, h, w, c], mirrored."""
    x = tf.keras.Input(batch_shape=(shape[0], *shape[2:], shape[1]))
    return tf.keras.Model(x, _outputs(net, x))


def mirror(array: Floats) -> Floats:
    """[..., ..., h, w], upside down and left to right."""
    return array[:, :, ::-1, ::-1]


@singledispatch
def _outputs(net: object, x: Any) -> Any:
    raise TypeError(f"no Keras model of a {type(net).__name__}")


@_outputs.register
def _(net: BiRealNet, x: Any) -> Any:
    y = _layers.MaxPooling2D(3, 2, padding="same")(_float_conv(net.stem)(x))
    for block in net.blocks:
        shortcut = y
        if block.down is not None:
            shortcut = _float_conv(block.down)(_layers.AveragePooling2D(2)(y))
        y = _layers.Add()([_norm(block.conv)(_binary_conv(block.conv)(y)), shortcut])
    return _head(net.head, y)


@_outputs.register
def _(net: QuickNet, x: Any) -> Any:
    y = _layers.ReLU()(_float_conv(net.first)(x))
    y = _float_conv(net.pointwise)(_depthwise(net.depthwise)(y))
    for layer in net.layers:
        if isinstance(layer, Transition):
            y = _layers.MaxPooling2D(2, 1)(_layers.ReLU()(y))
            y = _float_conv(layer.conv)(_depthwise(layer.blur)(y))
        else:
            conv = _binary_conv(layer, activation="relu", pad_values=1.0)
            y = _layers.Add()([_norm(layer)(conv(y)), y])
    return _head(net.head, _layers.ReLU()(y))


def _float_conv(conv: FloatConv) -> Any:
    out, _, size, _ = conv.weight.shape
    weights = [_kernel(conv.weight), conv.bias]
    return _layers.Conv2D(out, size, conv.stride, padding="same", weights=weights)


def _depthwise(conv: FloatConv) -> Any:
    size = conv.weight.shape[2]
    weights = [mirror(conv.weight).transpose(2, 3, 0, 1), conv.bias]
    return _layers.DepthwiseConv2D(size, conv.stride, padding="same", weights=weights)


def _binary_conv(conv: BinaryConv, pad_values: float = 0.0, activation: str | None = None) -> Any:
    out, _, size, _ = conv.signs.shape
    return larq.layers.QuantConv2D(
        out,
        size,
        conv.stride,
        padding="same",
        pad_values=pad_values,
        activation=activation,
        input_quantizer="ste_sign",
        kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip",
        use_bias=False,
        weights=[_kernel(conv.signs.astype(np.float32))],
    )


def _norm(conv: BinaryConv) -> Any:
    zero, one = np.zeros_like(conv.bias), np.ones_like(conv.bias)
    weights = [conv.scale, conv.bias, zero, one]
    return _layers.BatchNormalization(epsilon=0.0, weights=weights)


def _head(dense: Dense, y: Any) -> Any:
    weights = [dense.weight.T, dense.bias]
    return _layers.Dense(len(dense.bias), weights=weights)(_layers.GlobalAveragePooling2D()(y))


def _kernel(weight: Floats) -> Floats:
    """[out, in, k, k] as Keras has it, [k, k, in, out], mirrored."""
    return mirror(weight).transpose(2, 3, 1, 0)
