"""Layers that run on bytes: ranges of their inputs from samples, and which layers shall."""

from bnn_compiler.quantization.automatic import choices
from bnn_compiler.quantization.calibrate import DEFAULT_METHOD, Calibration, calibrate
from bnn_compiler.quantization.choose import DEFAULT_TOLERANCE, Choices, check_tolerance
from bnn_compiler.quantization.histogram import METHODS

__all__ = [
    "DEFAULT_METHOD",
    "DEFAULT_TOLERANCE",
    "METHODS",
    "Calibration",
    "Choices",
    "calibrate",
    "check_tolerance",
    "choices",
]
