"""Networks so small that a calibration takes seconds."""

from torch import nn

from bnn_compiler.latency.templates import Template
from bnn_compiler.nn import BinaryConv2d, Sign


def network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        Sign(),
        BinaryConv2d(16, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        Sign(),
        BinaryConv2d(24, 16, 1),
    )


TEMPLATES = tuple(Template(f"tiny@{side}", network, (1, 3, side, side)) for side in (6, 8))
REFERENCE = Template("reference", network, (1, 3, 7, 7))
