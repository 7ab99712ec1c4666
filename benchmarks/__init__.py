"""Measurements of bnn_compiler on this machine; run each as `python -m benchmarks.NAME`."""
