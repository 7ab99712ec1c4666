"""The library around CPU kernels: glue in C, linking, a header and an example."""
