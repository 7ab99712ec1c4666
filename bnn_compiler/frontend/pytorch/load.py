"""The PyTorch front end: what the user names, imported."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_compiler.frontend.imported import Imported
from bnn_compiler.frontend.pytorch import importer, levels, simplify, source, trace
from bnn_compiler.frontend.pytorch.oracle import TorchOracle


def load(spec: Any, checkpoint: Path | None, example_inputs: Sequence[Any] | None) -> Imported:
    """Load, trace and import. Raises ModelError, UnsupportedError or InputError."""
    given = source.load_model(spec, checkpoint=checkpoint, example_inputs=example_inputs)
    traced = levels.joined(trace.trace(given.model, given.example_inputs))
    simple = simplify.simplify(traced)
    module, origins = importer.import_graph(simple)
    samples = tuple(x.numpy(force=True) for x in given.example_inputs)
    oracle = TorchOracle(given.model, traced, origins)
    return Imported(module, _hash(simple), origins, samples, oracle, traced.note, given.model)


def _hash(traced: trace.TracedGraph) -> str:
    """Of the operators and the weights."""
    digest = hashlib.sha256(str(traced.graph).encode())
    for key, value in sorted(traced.constants.items()):
        digest.update(key.encode())
        digest.update(value.detach().contiguous().reshape(-1).numpy().view(np.uint8).data)
    return digest.hexdigest()
