"""Networks written in Relax, as if a front end had read them, through the whole compiler."""

import numpy as np
from tvm import relax

import bnn_compiler
from bnn_compiler.frontend.imported import Imported
from bnn_compiler.network import Network
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.options import Options
from bnn_compiler.verification.kernels import kernel_checks


def network_of(body, channels, size):
    """``body`` (emit, NHWC image) -> NHWC result, between two layout changes."""
    ops.register()
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([1, channels, size, size], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            image = builder.emit(relax.op.permute_dims(x, [0, 2, 3, 1]))
            result = body(builder.emit, image)
            out = builder.emit_output(relax.op.permute_dims(result, [0, 3, 1, 2]))
        builder.emit_func_output(out)
    return Network(Imported(builder.get(), "0" * 64, {}, (), None))


def compiled(network, x, path, monkeypatch):
    """(the fused graph, the result, the manifest); the reference's bits must be the same."""
    monkeypatch.setattr(Network, "of", lambda *_, **__: network)
    graph = network.fused(Options())
    (wanted,) = (evaluate.run(graph, [x])[v] for v in graph.outputs)
    with bnn_compiler.compile(None, output=path, check=False) as artifact:
        checks = kernel_checks(artifact, graph, [x])
        assert checks and not any(c.mismatches for c in checks)
        found, manifest = artifact.run(x), artifact.manifest
    np.testing.assert_array_equal(found, wanted)
    return graph, found, manifest
