"""The time of a network as a function of its channels: plans, their kernels, what those cost."""
