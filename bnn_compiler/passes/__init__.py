"""Relax to Relax: recognise, fold, fuse.

A pass is a class with ``__call__(module) -> module``, in a file of its name, with a
test of the same name. It reads the function as a list of bindings (graph.py), rewrites some and
returns a new module; bindings nobody reads disappear. Its docstring is one sentence and the
rewrite, before -> after. To add one: write the file, its test, and one line in pipeline.py.
"""
