"""Ranges of activations from samples, for the layers that run on bytes."""

from bnn_compiler.quantization.calibrate import DEFAULT_METHOD, Calibration, calibrate
from bnn_compiler.quantization.histogram import METHODS

__all__ = ["DEFAULT_METHOD", "METHODS", "Calibration", "calibrate"]
