"""One or more forms of each operator: arrays, which of them are constants, attributes."""

import numpy as np

from tests.frontend.onnx.graphs import images

F, I64 = np.float32, np.int64
X = images(2, 4, 7, 6)
ROW = images(3, 8)
V = np.abs(ROW) + F(0.1)
C = images(4) * F(0.5)
P = np.abs(C) + F(0.3)


def ints(*values):
    return np.array(values, I64)


def f(*values):
    return np.array(values, F)


def case(*arrays, constants=None, opset=17, outputs=1, **attributes):
    known = range(1, len(arrays)) if constants is None else constants
    known = [i for i in known if arrays[i] is not None]
    return arrays, known, opset, outputs, attributes


#: Operators of one tensor that have no attributes.
PLAIN = {
    **dict.fromkeys(
        ("Neg", "Abs", "Sign", "Exp", "Floor", "Ceil", "Round", "Sin", "Cos", "Erf", "Relu"), X
    ),
    **dict.fromkeys(("Sigmoid", "Tanh", "Softsign", "Softplus", "Identity", "HardSwish"), X),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), X),
    **dict.fromkeys(("Sqrt", "Log", "Reciprocal"), V),
    **dict.fromkeys(("Atan", "Sinh", "Cosh", "Tan"), ROW),
    **dict.fromkeys(("Asin", "Acos"), np.tanh(ROW)),
}
TWO = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean")
COMPARE = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")

CASES = {
    **{name: case(x) for name, x in PLAIN.items()},
    **{f"{name} computed": case(ROW, V, constants=[]) for name in TWO},
    **{f"{name} number": case(X, f(0.7)) for name in TWO},
    **{f"{name} channels": case(X, P.reshape(4, 1, 1)) for name in TWO},
    **{f"{name} number": case(ROW, ROW.reshape(-1)[3]) for name in COMPARE},
    **{f"{name} computed": case(ROW, np.roll(ROW, 1, 1), constants=[]) for name in COMPARE},
    "Sub from": case(f(2.0), X, constants=[0]),
    "Div of": case(f(2.0), V, constants=[0]),
    "Pow square": case(X, f(2.0)),
    "Pow half": case(V, np.array(0.5, F)),
    "Pow integer": case(X, np.array(3, I64)),
    "Mod": case(ROW, f(0.7), fmod=1),
    "Clip": case(X, np.array(-0.5, F), np.array(0.9, F)),
    "Clip above": case(X, None, np.array(0.9, F)),
    "Not": case(ROW > 0),
    **{n: case(ROW > 0, ROW < 0.5, constants=[]) for n in ("And", "Or", "Xor")},
    "Where": case(ROW > 0, ROW, V, constants=[]),
    "Where numbers": case(ROW > 0, f(1.0), f(-1.0)),
    "PRelu": case(X, C.reshape(4, 1, 1)),
    "PRelu one": case(X, f(0.2)),
    "PRelu each": case(ROW, images(3, 8, seed=1)),
    "LeakyRelu": case(X, alpha=0.3),
    "HardSigmoid": case(X),
    "HardSigmoid torch": case(X, alpha=1 / 6),
    "Gelu": case(X, opset=20),
    "Gelu tanh": case(X, opset=20, approximate="tanh"),
    "Elu": case(X, alpha=0.7),
    "Selu": case(X),
    "Selu other": case(X, alpha=1.2, gamma=0.9),
    "Celu": case(X, alpha=0.8),
    "Mish": case(X, opset=18),
    "Swish": case(X, opset=24),
    "ThresholdedRelu": case(X, alpha=0.4),
    "Softmax": case(X, axis=1),
    "Softmax matrix": case(X, axis=1, opset=11),
    "LogSoftmax": case(ROW),
    "Conv": case(X, images(6, 4, 3, 3), images(6), pads=[1, 1, 1, 1]),
    "Conv groups": case(X, images(8, 2, 3, 2), group=2, strides=[2, 1], dilations=[1, 2]),
    "Conv asymmetric": case(X, images(5, 4, 3, 3), pads=[0, 1, 2, 1]),
    "Conv same": case(X, images(5, 4, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv same lower": case(X, images(5, 4, 2, 2), auto_pad="SAME_LOWER"),
    "Conv valid": case(X, images(5, 4, 2, 2), auto_pad="VALID"),
    "Conv row": case(images(2, 4, 9), images(5, 4, 3), pads=[1, 1]),
    "ConvTranspose": case(X, images(4, 5, 3, 3), images(5), strides=[2, 2], pads=[1, 1, 1, 1]),
    "ConvTranspose extra": case(
        X, images(4, 5, 3, 3), strides=[2, 2], output_padding=[1, 1], pads=[1, 1, 1, 1]
    ),
    "ConvTranspose asymmetric": case(X, images(4, 3, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]),
    "Gemm": case(ROW, images(5, 8), images(5), transB=1),
    "Gemm plain": case(ROW, images(8, 5), images(3, 5), alpha=0.5, beta=2.0),
    "MatMul": case(images(2, 3, 8), images(8, 5)),
    "MatMul computed": case(images(2, 3, 8), images(2, 8, 5), constants=[]),
    "Einsum": case(images(2, 3, 8), images(2, 5, 8), constants=[], equation="bij,bkj->bik"),
    "MaxPool": case(X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "MaxPool ceil": case(X, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool asymmetric": case(X, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 0]),
    "MaxPool same": case(X, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "MaxPool row": case(images(2, 4, 9), kernel_shape=[3], strides=[2]),
    "AveragePool": case(X, kernel_shape=[2, 3], strides=[2, 1]),
    "AveragePool pads": case(X, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool counted": case(
        X, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, strides=[2, 2]
    ),
    "AveragePool asymmetric": case(X, kernel_shape=[3, 3], pads=[0, 1, 1, 0]),
    "AveragePool both": case(X, kernel_shape=[3, 3], pads=[0, 1, 1, 0], count_include_pad=1),
    "AveragePool ceil": case(X, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "LpPool": case(X, kernel_shape=[2, 2]),
    "ReduceMean": case(X, axes=[2, 3], keepdims=0),
    "ReduceMean input": case(X, ints(-1), opset=18),
    "ReduceSum": case(X, ints(1, 2)),
    "ReduceSum all": case(X, keepdims=0),
    "ReduceMax": case(X, axes=[1]),
    "ReduceMin": case(X, axes=[3], keepdims=0),
    "ReduceProd": case(ROW, axes=[1]),
    "ReduceL1": case(X, axes=[1]),
    "ReduceL2": case(X, axes=[1, 2]),
    "ReduceSumSquare": case(X, axes=[1]),
    "ArgMax": case(ROW, axis=1, keepdims=0),
    "ArgMin": case(X, axis=2),
    "TopK": case(ROW, ints(3), outputs=2, axis=1),
    "TopK least": case(ROW, ints(2), outputs=2, largest=0),
    "CumSum": case(ROW, np.array(1, I64)),
    "CumSum integers": case(np.arange(6, dtype=np.int32), np.array(0, I64)),
    "CumSum back": case(ROW, np.array(1, I64), reverse=1, exclusive=1),
    "Reshape": case(X, ints(0, -1, 6)),
    "Flatten": case(X, axis=2),
    "Squeeze": case(X[:, :1], ints(1)),
    "Squeeze old": case(X[:, :1], axes=[1], opset=11),
    "Squeeze all": case(X[:1, :1]),
    "Unsqueeze": case(ROW, ints(0, -1)),
    "Unsqueeze old": case(ROW, axes=[1], opset=11),
    "Transpose": case(X, perm=[0, 2, 3, 1]),
    "Transpose back": case(X),
    "Expand": case(ROW, ints(2, 1, 8)),
    "Tile": case(ROW, ints(2, 3)),
    "Concat": case(X, X + 1, constants=[], axis=1),
    "Split": case(X, ints(1, 3), outputs=2, axis=1),
    "Split old": case(X, outputs=2, axis=1, split=[3, 1], opset=11),
    "Split count": case(X, outputs=3, axis=2, num_outputs=3, opset=18),
    "Slice": case(X, ints(1, 0), ints(9, -1), ints(2, 3), ints(2, 1)),
    "Slice back": case(X, ints(-1), ints(-(2**62)), ints(2), ints(-1)),
    "Slice back, some": case(X, ints(5), ints(0), ints(2), ints(-2)),
    "Slice plain": case(ROW, ints(1, 2), ints(2, 5)),
    "Pad": case(X, ints(0, 1, 0, 2, 0, 0, 1, 0), np.array(0.5, F)),
    "Pad axes": case(X, ints(1, 2), None, ints(2), opset=18),
    "Pad reflect": case(X, ints(0, 0, 1, 2, 0, 0, 2, 1), mode="reflect"),
    "Pad edge": case(X, ints(0, 0, 1, 0, 0, 0, 2, 0), mode="edge"),
    "DepthToSpace": case(X, blocksize=2),
    "DepthToSpace CRD": case(X, blocksize=2, mode="CRD"),
    "SpaceToDepth": case(X[:, :, :6], blocksize=2),
    "SpaceToDepth rows": case(X[:, :, :6], blocksize=2, mode="CRD", opset=28),
    "Gather": case(X, ints(2, -1), axis=1),
    "Gather one": case(X, np.array(1, I64), axis=2),
    "Gather embedding": case(images(9, 4), ints(1, 0, 8, 3), constants=[0]),
    "Gather matrix": case(ROW, np.array([[0, 2], [1, 1]], I64)),
    "GatherElements": case(ROW, np.array([[1, -1], [0, 3], [7, 2]], I64), axis=1),
    "Trilu": case(images(4, 5), np.array(1, I64), upper=0),
    "Dropout": case(X, outputs=2),
    "Cast": case(X, to=7),
    "Cast bool": case(ROW, to=9),
    "CastLike": case(X, ints(1)),
    "Resize": case(X, None, f(1, 1, 2, 2), coordinate_transformation_mode="asymmetric",
                   nearest_mode="floor"),
    "Resize half": case(X, None, f(1, 1, 2, 3)),
    "Resize down": case(X[:, :, :6], None, f(1, 1, 0.5, 0.5)),
    "Resize to parts": case(X, None, f(1, 1, 0.6, 1.7), mode="linear"),
    "Resize sizes": case(X, None, None, ints(2, 4, 14, 12), mode="linear"),
    "Resize corners": case(X, None, f(1, 1, 2, 2), mode="linear",
                           coordinate_transformation_mode="align_corners"),
    "Resize cubic": case(X, None, f(1, 1, 2, 2), mode="cubic"),
    "Resize channels": case(X, None, f(1, 2, 1, 1)),
    "BatchNormalization": case(X, P, C, C, P),
    "BatchNormalization rows": case(images(3, 4), P, C, C, P),
    "LayerNormalization": case(ROW, images(8), images(8), axis=-1),
    "LayerNormalization scale": case(X, images(6)),
    "InstanceNormalization": case(X, P, C),
    "GroupNormalization": case(X, P, C, num_groups=2, opset=21),
    "LpNormalization": case(ROW, axis=1),
    "QuantizeLinear": case(X, np.array(0.04, F), np.array(7, np.int8)),
    "QuantizeLinear unsigned": case(X, np.array(0.04, F)),
    "DequantizeLinear": case((X * 20).astype(np.int8), np.array(0.04, F), np.array(7, np.int8)),
    "QLinearConv": case(
        (np.abs(X) * 50).astype(np.uint8), np.array(0.05, F), np.array(9, np.uint8),
        (images(5, 4, 3, 3) * 40).astype(np.int8), np.linspace(0.01, 0.03, 5, dtype=F),
        np.zeros(5, np.int8), np.array(0.2, F), np.array(100, np.uint8),
        (images(5) * 500).astype(np.int32), pads=[1, 1, 1, 1],
    ),
    "QLinearMatMul": case(
        (np.abs(ROW) * 50).astype(np.uint8), np.array(0.05, F), np.array(9, np.uint8),
        (images(8, 5) * 40).astype(np.int8), np.array(0.02, F), np.array(0, np.int8),
        np.array(0.2, F), np.array(100, np.uint8),
    ),
}  # fmt: skip
#: Those that only fold: all of their inputs are constants.
FOLDED = ("Constant", "ConstantOfShape", "Shape", "Size", "Range")
