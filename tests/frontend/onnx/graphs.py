"""Small ONNX models for tests."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}
KINDS |= {
    "int32": TensorProto.INT32,
    "int8": TensorProto.INT8,
    "bool": TensorProto.BOOL,
    "float16": TensorProto.FLOAT16,
}


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weights(value, name):
    return numpy_helper.from_array(np.asarray(value), name)


def model(nodes, inputs, outputs=("y",), constants=None, opset=17, domains=(), ir=8):
    """A checked model; ``inputs`` are arrays, or shapes, by name."""
    given = []
    for name, x in inputs.items():
        shape, kind = (
            (x.shape, KINDS[x.dtype.name]) if hasattr(x, "dtype") else (x, KINDS["float32"])
        )
        given.append(helper.make_tensor_value_info(name, kind, shape))
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    held = [weights(v, k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", given, results, held)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in domains)]
    found = helper.make_model(graph, opset_imports=imports, ir_version=ir)
    inferred = onnx.shape_inference.infer_shapes(found)
    # Outputs have types where they are known.
    for result in found.graph.output:
        same = next((o for o in inferred.graph.output if o.name == result.name), None)
        if same is not None and same.type.HasField("tensor_type"):
            result.CopyFrom(same)
        if not result.type.tensor_type.HasField("shape"):
            # Of a function: like the first input.
            rank = len(found.graph.input[0].type.tensor_type.shape.dim)
            sizes = [f"size{i}" for i in range(rank)]
            kind = result.type.tensor_type.elem_type or TensorProto.FLOAT
            result.CopyFrom(helper.make_tensor_value_info(result.name, kind, sizes))
    return found


def single(operator, arrays, constants=(), outputs=1, opset=17, domain="", version=1, **attributes):
    """A model of one operator: ``arrays`` are its inputs, those at ``constants`` initialisers."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(arrays)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(operator, names, results, "the.node", domain=domain, **attributes)
    known = {f"x{i}": arrays[i] for i in constants}
    given = {n: x for n, x in zip(names, arrays, strict=True) if n and n not in known}
    domains = [(domain, version)] if domain else []
    return model([node], given, results, known, opset, domains), list(given.values())
