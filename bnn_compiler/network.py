"""The front half of the compiler, once: from what the user names to a fused graph."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from bnn_compiler.errors import InputError
from bnn_compiler.frontend import table
from bnn_compiler.frontend.imported import Imported
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.own_ranges import own_ranges
from bnn_compiler.passes.quantize_rest import Range, candidates, check_names


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

    @staticmethod
    def of_batches(
        model: Any,
        example_inputs: Sequence[Any] | None,
        batches: Sequence[int],
        *,
        checkpoint: str | Path | None = None,
    ) -> "tuple[Network, ...]":
        """The network for each of ``batches``, the inputs repeated or cut to that many.

        Inputs have a batch whose first size is that of the first one. Raises what ``of`` does.
        """
        if min(batches, default=0) < 1 or len(set(batches)) < len(batches):
            raise InputError(f"batches {list(batches)}: give different sizes from 1 on")
        if example_inputs is None:
            given = Network.of(model, None, checkpoint=checkpoint)
            model, checkpoint, example_inputs = given._again, None, given.imported.samples
        first = Network.of(model, resized(example_inputs, batches[0]), checkpoint=checkpoint)
        others = (Network.of(first._again, resized(example_inputs, n)) for n in batches[1:])
        return first, *others

    @staticmethod
    def of_batch(
        model: Any,
        example_inputs: Sequence[Any] | None,
        batch: int | None,
        *,
        checkpoint: str | Path | None = None,
    ) -> "Network":
        """The network for ``batch``, None for that of its inputs. Raises what ``of`` does."""
        if batch is None:
            return Network.of(model, example_inputs, checkpoint=checkpoint)
        return Network.of_batches(model, example_inputs, (batch,), checkpoint=checkpoint)[0]

    @property
    def _again(self) -> Any:
        """What imports the same network for other inputs."""
        if self.imported.model is None:
            raise InputError("this network comes from a front end that knows one batch size only")
        return self.imported.model

    @property
    def source_hash(self) -> str:
        """Of the operators and the weights."""
        return self.imported.source_hash

    def fused(self, options: Options, dump_dir: Path | None = None) -> Graph:
        """The network after every pass; ``dump_dir`` gets the IR after every phase."""
        return fused(self.imported.module, options, dump_dir)

    def folded(self, options: Options) -> Graph:
        """The network before its operators are fused, everything that is no bit in float."""
        return Graph.of(pipeline.fold(self.imported.module, options.zero_weight))


def resized(inputs: Sequence[Any], count: int) -> tuple[Any, ...]:
    """The inputs with ``count`` of what the first one has many of, from the first on again."""
    size = len(inputs[0]) if len(inputs) and np.ndim(inputs[0]) else 0
    rows = [i % size for i in range(count)] if size else []
    has = [bool(rows) and np.ndim(x) > 0 and len(x) == size for x in inputs]
    return tuple(x[rows] if batched else x for x, batched in zip(inputs, has, strict=True))


def uncalibrated(module: tvm.IRModule, options: Options, float_layers: Collection[str]) -> Options:
    """``options`` with the layers int8 that ``compile`` makes int8, but for ``float_layers``, by
    ranges that are made up: kernels and their schedules do not depend on ranges.

    Raises InputError for a name that the network does not have.
    """
    graph = Graph.of(pipeline.fold(module, options.zero_weight))
    own = with_own_ranges(graph, options, float_layers)
    if own is not None:
        return own
    found = candidates(graph)
    check_names(float_layers, found)
    ranges = (Range(layer, -1.0, 1.0) for layer in found if layer not in float_layers)
    return replace(options, int8=tuple(ranges))


def with_own_ranges(
    graph: Graph, options: Options, float_layers: Collection[str]
) -> Options | None:
    """``options`` with the layers of a folded graph int8 that bring their scales.

    None if there are none. Raises InputError for a name in ``float_layers`` that is none of them.
    """
    found = own_ranges(graph)
    if not found:
        return None
    check_names(float_layers, found)
    ranges = (own for layer, own in found.items() if layer not in float_layers)
    return replace(options, int8=tuple(ranges))


def fused(module: tvm.IRModule, options: Options, dump_dir: Path | None = None) -> Graph:
    """An imported module after every pass; ``dump_dir`` gets the IR after every phase."""
    module = pipeline.run(
        module,
        zero_weight=options.zero_weight,
        byte_input=options.normalization,
        allow_reorder=options.allow_reorder,
        int8=options.int8,
        half=options.half,
        dump_dir=dump_dir,
    )
    return Graph.of(module)
