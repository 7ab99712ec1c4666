"""ONNX networks of several layers, as exporters write them."""

import numpy as np
from onnx import helper

from tests.frontend.onnx.graphs import images, model

N = helper.make_node
F, I64 = np.float32, np.int64
Q, QONNX = "qonnx.custom_op.general", ("qonnx.custom_op.general", 1)


def sign_of(spelling, x, y, name):
    """Nodes from ``x`` to its sign ``y``, and their constants."""
    if spelling == "Sign":
        return [N("Sign", [x], [y], f"{name}.sign")], {}
    if spelling == "Where":
        nodes = [
            N("GreaterOrEqual", [x, "zero"], [f"{y}_mask"]),
            N("Where", [f"{y}_mask", "one", "minus"], [y]),
        ]
        return nodes, {"zero": F(0), "one": F(1), "minus": F(-1)}
    if spelling == "BipolarQuant":
        return [N("BipolarQuant", [x, "scale"], [y], f"{name}.quant", domain=Q)], {"scale": F(0.7)}
    nodes = [
        N("Greater", [x, "zero"], [f"{y}_mask"]),
        N("Cast", [f"{y}_mask"], [f"{y}_bit"], to=1),
        N("Mul", [f"{y}_bit", "two"], [f"{y}_double"]),
        N("Sub", [f"{y}_double", "one"], [y]),
    ]
    return nodes, {"zero": F(0), "one": F(1), "two": F(2)}


SPELLINGS = ("Sign", "Where", "BipolarQuant", "Cast")


def binary(spelling="Where", batch=1, dtype=F):
    """A float stem, a binary convolution with a batch norm and a shortcut, a classifier."""
    signs, constants = sign_of(spelling, "a", "b", "/layer1/0")
    weight = np.sign(images(16, 16, 3, 3, seed=2)) * np.linspace(0.02, 0.05, 16, dtype=F).reshape(
        16, 1, 1, 1
    )
    constants |= {
        "stem.weight": images(16, 3, 3, 3, seed=1) * F(0.2),
        "bn.weight": np.linspace(0.5, 1.5, 16, dtype=F),
        "bn.bias": images(16, seed=3) * F(0.1),
        "bn.mean": images(16, seed=4) * F(0.1),
        "bn.var": np.linspace(0.5, 2, 16, dtype=F),
        "layer.weight": weight.astype(F),
        "fc.weight": images(5, 16, seed=5),
        "fc.bias": images(5, seed=6),
    }
    nodes = [
        N("Conv", ["x", "stem.weight"], ["s"], "/stem/Conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        N(
            "BatchNormalization",
            ["s", "bn.weight", "bn.bias", "bn.mean", "bn.var"],
            ["a"],
            "/bn/BatchNormalization",
        ),
        *signs,
        N("Conv", ["b", "layer.weight"], ["c"], "/layer1/0/Conv", pads=[1, 1, 1, 1]),
        N("Add", ["c", "a"], ["d"], "/layer1/0/Add"),
        N("GlobalAveragePool", ["d"], ["e"]),
        # As torch.onnx writes x.view(x.shape[0], -1).
        N("Shape", ["e"], ["shape"]),
        N("Gather", ["shape", "first"], ["rows"]),
        N("Concat", ["rows", "rest"], ["to"], axis=0),
        N("Reshape", ["e", "to"], ["f"]),
        N("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], "/fc/Gemm", transB=1),
    ]
    constants = {k: np.asarray(v, dtype) for k, v in constants.items()}
    constants |= {"first": np.array([0], I64), "rest": np.array([-1], I64)}
    shape = np.zeros((1, 3, 12, 12), dtype) if batch == 1 else (batch, 3, 12, 12)
    return model(nodes, {"x": shape}, constants=constants, domains=[QONNX])


def pair(x, y, scale, zero):
    """Levels of ``x`` and their meaning ``y``, as names of nodes and constants."""
    held = {f"{y}_scale": F(scale), f"{y}_zero": zero}
    numbers = list(held)
    nodes = [
        N("QuantizeLinear", [x, *numbers], [f"{y}_level"]),
        N("DequantizeLinear", [f"{y}_level", *numbers], [y]),
    ]
    return nodes, held


def of_levels(name, w, bias):
    """Nodes and constants of int8 weights with a scale of each channel, and an int32 bias."""
    scale = (np.abs(w).reshape(len(w), -1).max(1) / 127).astype(F)
    wide = scale.reshape(-1, *[1] * (w.ndim - 1))
    held = {
        f"{name}_whole": np.rint(w / wide).astype(np.int8),
        f"{name}_scale": scale,
        f"{name}_zero": np.zeros(len(w), np.int8),
        f"{name}_bias_whole": np.rint(bias / 0.001).astype(np.int32),
        f"{name}_bias_scale": F(0.001),
    }
    nodes = [
        N(
            "DequantizeLinear",
            [f"{name}_whole", f"{name}_scale", f"{name}_zero"],
            [f"{name}_weight"],
            axis=0,
        ),
        N("DequantizeLinear", [f"{name}_bias_whole", f"{name}_bias_scale"], [f"{name}_bias"]),
    ]
    return nodes, held


def qdq(opset=13):
    """An int8 stem and classifier around a binary convolution."""
    parts = [
        pair("x", "x_", 0.025, np.int8(9)),
        of_levels("stem", images(16, 3, 3, 3, seed=1) * F(0.2), images(16, seed=2) * F(0.1)),
        pair("r", "s_", 0.011, np.int8(-128)),
        sign_of("Where", "t", "b", "layer"),
        pair("d", "d_", 0.05, np.uint8(114)),
        pair("m", "m_", 0.04, np.uint8(100)),
        of_levels("fc", images(7, 16, seed=4) * F(0.3), images(7, seed=5) * F(0.1)),
        pair("z", "y", 0.02, np.int8(0)),
    ]
    (q0, _), (w0, _), (q1, _), (signs, _), (q2, _), (q3, _), (w1, _), (q4, _) = parts
    nodes = [
        *q0,
        *w0,
        N("Conv", ["x_", "stem_weight", "stem_bias"], ["s"], "stem", pads=[1, 1, 1, 1]),
        N("Relu", ["s"], ["r"]),
        *q1,
        N("Sub", ["s_", "shift"], ["t"]),
        *signs,
        N("Conv", ["b", "layer.weight"], ["c"], "layer", pads=[1, 1, 1, 1]),
        N("Add", ["c", "s_"], ["d"], "add"),
        *q2,
        N("ReduceMean", ["d_"], ["m"], axes=[2, 3], keepdims=0),
        *q3,
        *w1,
        N("Gemm", ["m_", "fc_weight", "fc_bias"], ["z"], "fc", transB=1),
        *q4,
    ]
    constants = {k: v for _, held in parts for k, v in held.items()}
    constants |= {"shift": F(0.2), "layer.weight": np.sign(images(16, 16, 3, 3, seed=3)) * F(0.02)}
    return model(nodes, {"x": ("N", 3, 12, 12)}, constants=constants, opset=opset)


def qonnx(bits=4):
    """Activations of ``bits`` bits and bipolar ones, weights of 8 bits and bipolar."""
    held = {
        "scale": F(0.0973), "zero": F(0), "bits": F(bits), "eight": F(8), "wscale": F(0.01),
        "stem.weight": images(16, 3, 3, 3, seed=1) * F(0.2),
        "layer.weight": images(16, 16, 3, 3, seed=2), "half": F(0.5),
        "wscales": np.linspace(0.02, 0.05, 16, dtype=F).reshape(16, 1, 1, 1),
        "first": np.array([0, -1], I64),
    }  # fmt: skip
    quant = {"domain": Q, "rounding_mode": "ROUND"}
    nodes = [
        N("Quant", ["x", "scale", "zero", "eight"], ["x_"], "in", signed=1, narrow=0, **quant),
        N("Quant", ["stem.weight", "wscale", "zero", "eight"], ["w"], signed=1, narrow=1, **quant),
        N("Conv", ["x_", "w"], ["s"], "stem", pads=[1, 1, 1, 1]),
        N("BipolarQuant", ["s", "half"], ["b"], "sign", domain=Q),
        N("BipolarQuant", ["layer.weight", "wscales"], ["v"], domain=Q),
        N("Conv", ["b", "v"], ["c"], "layer", pads=[1, 1, 1, 1]),
        N("Relu", ["c"], ["r"]),
        N("Quant", ["r", "scale", "zero", "bits"], ["q"], "act", signed=0, narrow=0, **quant),
        N("GlobalAveragePool", ["q"], ["p"]),
        N("Reshape", ["p", "first"], ["y"]),
    ]
    return model(nodes, {"x": (2, 3, 12, 12)}, constants=held, domains=[QONNX])
