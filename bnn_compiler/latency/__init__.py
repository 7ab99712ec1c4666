"""The time of a network as a function of its channels: plans, their kernels, and what those cost."""
