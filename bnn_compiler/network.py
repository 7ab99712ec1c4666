"""The front half of the compiler, once: from what the user names to a fused graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from bnn_compiler.frontend import table
from bnn_compiler.frontend.imported import Imported
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.passes import pipeline


@dataclass(frozen=True)
class Network:
    """A network as it was given, by whatever front end."""

    imported: Imported

    @staticmethod
    def of(
        model: Any, example_inputs: Sequence[Any] | None, *, checkpoint: str | Path | None = None
    ) -> "Network":
        """Load, trace and import what ``compile`` takes.

        Raises ModelError, UnsupportedError or InputError.
        """
        weights = None if checkpoint is None else Path(checkpoint)
        return Network(table.load(model, weights, example_inputs))

    @property
    def source_hash(self) -> str:
        """Of the operators and the weights."""
        return self.imported.source_hash

    def fused(self, options: Options, dump_dir: Path | None = None) -> Graph:
        """The network after every pass; ``dump_dir`` gets the IR after every phase."""
        return fused(self.imported.module, options, dump_dir)


def fused(module: tvm.IRModule, options: Options, dump_dir: Path | None = None) -> Graph:
    """An imported module after every pass; ``dump_dir`` gets the IR after every phase."""
    module = pipeline.run(
        module,
        zero_weight=options.zero_weight,
        byte_input=options.normalization,
        allow_reorder=options.allow_reorder,
        dump_dir=dump_dir,
    )
    return Graph.of(module)
