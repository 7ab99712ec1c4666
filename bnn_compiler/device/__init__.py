"""Measuring programs on other machines: over TVM's RPC, or by a kit that is carried there."""
