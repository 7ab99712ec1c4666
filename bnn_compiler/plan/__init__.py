"""A fused graph becomes buffers in one arena and a static sequence of kernel calls."""
