"""What runs kernels on a GPU: a launcher in C over the driver API, and its artifact."""
