"""Kernels for CPUs: TE, schedules and the passes that make plain C functions of them."""
