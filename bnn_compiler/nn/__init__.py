"""Binary layers and what trains them: signs, RSign, RPReLU, shortcuts, Bop, losses, recipes."""

from bnn_compiler.nn import recipes
from bnn_compiler.nn.activation import LeakyClip, RPReLU, RSign
from bnn_compiler.nn.bop import Bop, BopSchedule, linear, stepped
from bnn_compiler.nn.conv import BinaryConv2d, BinaryLinear
from bnn_compiler.nn.convert import binary_weights, exact_signs, real_weights
from bnn_compiler.nn.loss import distillation_loss, distribution_loss
from bnn_compiler.nn.parameters import Parameters
from bnn_compiler.nn.shortcut import Shortcut
from bnn_compiler.nn.sign import ApproxSign, ClippedSign, Sign, sign
from bnn_compiler.nn.weight import magnitude_aware_sign

__all__ = [
    "ApproxSign",
    "BinaryConv2d",
    "BinaryLinear",
    "Bop",
    "BopSchedule",
    "ClippedSign",
    "LeakyClip",
    "Parameters",
    "RPReLU",
    "RSign",
    "Shortcut",
    "Sign",
    "binary_weights",
    "distillation_loss",
    "distribution_loss",
    "exact_signs",
    "linear",
    "magnitude_aware_sign",
    "real_weights",
    "recipes",
    "sign",
    "stepped",
]
