"""The front half of the compiler, once: from what the user names to a fused graph."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_compiler.frontend.pytorch import importer, simplify, source, trace
from bnn_compiler.frontend.pytorch.importer import Imported
from bnn_compiler.frontend.pytorch.oracle import Oracle
from bnn_compiler.frontend.pytorch.trace import TracedGraph
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.passes import pipeline


@dataclass(frozen=True)
class Network:
    """A network as it was given: imported, hashed with its weights, and its own framework's view.

    ``samples`` are the inputs it was traced with, as the network sees them.
    """

    imported: Imported
    source_hash: str
    oracle: Oracle
    samples: tuple[Any, ...]

    @staticmethod
    def of(
        model: Any, example_inputs: Sequence[Any] | None, *, checkpoint: str | Path | None = None
    ) -> "Network":
        """Load, trace and import what ``compile`` takes.

        Raises ModelError, UnsupportedError or InputError.
        """
        loaded = source.load_model(model, checkpoint=checkpoint, example_inputs=example_inputs)
        traced = trace.trace(loaded.model, loaded.example_inputs)
        simple = simplify.simplify(traced)
        imported = importer.import_graph(simple)
        oracle = Oracle(loaded.model, traced, imported.origins)
        return Network(imported, _hash(simple), oracle, loaded.example_inputs)

    def fused(self, options: Options, dump_dir: Path | None = None) -> Graph:
        """The network after every pass; ``dump_dir`` gets the IR after every phase."""
        module = pipeline.run(
            self.imported.module,
            zero_weight=options.zero_weight,
            byte_input=options.normalization,
            allow_reorder=options.allow_reorder,
            dump_dir=dump_dir,
        )
        return Graph.of(module)


def _hash(traced: TracedGraph) -> str:
    """Of the operators and the weights."""
    digest = hashlib.sha256(str(traced.graph).encode())
    for key, value in sorted(traced.constants.items()):
        digest.update(key.encode())
        digest.update(value.detach().contiguous().reshape(-1).numpy().view(np.uint8).data)
    return digest.hexdigest()
