"""The commands of ``bnnc`` that are more than one call."""
