"""PyTorch's operators, one little network each: what must be compiled, and what is refused how."""
