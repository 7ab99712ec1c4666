"""What kernels compute, as data: layouts, workloads, tasks, points, families."""
