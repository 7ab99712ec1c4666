"""Measure what one core of this CPU can do at most; the model that uses it is runtime/bounds.py."""

from bnn_compiler.roofline.measure import parse, peaks, rates

__all__ = ["parse", "peaks", "rates"]
