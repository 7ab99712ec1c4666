"""The ONNX front end: a file becomes a module of PyTorch, which goes the way of every module."""
