"""Binary layers for training: sign functions, binary convolution, RSign, RPReLU, Bop."""

from bnn_compiler.nn.activation import LeakyClip, RPReLU, RSign
from bnn_compiler.nn.bop import Bop
from bnn_compiler.nn.conv import BinaryConv2d, BinaryLinear
from bnn_compiler.nn.sign import ApproxSign, ClippedSign, Sign, sign

__all__ = [
    "ApproxSign",
    "BinaryConv2d",
    "BinaryLinear",
    "Bop",
    "ClippedSign",
    "LeakyClip",
    "RPReLU",
    "RSign",
    "Sign",
    "sign",
]
