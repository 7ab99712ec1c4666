import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.errors import InputError
from bnn_compiler.passes.byte_input import TOLERANCE, Normalization, quantize

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Stem(nn.Module):
    def __init__(self, pooled=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 20, 7, 2, 3, bias=False)
        self.pooled = pooled

    def forward(self, x):
        return self.conv(torch.nn.functional.max_pool2d(x, 2) if self.pooled else x)


def image(seed=0, size=18):
    return np.random.default_rng(seed).integers(0, 256, (1, 3, size, size), np.uint8)


def test_the_bound_holds():
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 100.0):
        w = (scale * rng.normal(size=(8, 7, 7, 3))).astype(np.float32)
        q = quantize(w, Normalization(**IMAGENET))
        assert q.error <= TOLERANCE
        a, _ = Normalization(**IMAGENET).affine(3)
        exact = w.astype(np.float64) * a
        for _ in range(20):
            x = rng.integers(0, 256, w.shape[1:])
            total = (q.weights.astype(np.int64) * x).sum(axis=(1, 2, 3))
            assert np.abs(total).max() < 2**31
            got = total.astype(np.float32).astype(np.float64) * q.scale
            reach = 255 * np.abs(exact).sum(axis=(1, 2, 3))
            assert (np.abs(got - (exact * x).sum(axis=(1, 2, 3))) <= q.error * reach).all()


def test_no_sum_overflows():
    for shape in ((5, 5, 32), (11, 11, 8), (7, 7, 3), (1, 1, 1)):
        q = quantize(np.ones((2, *shape), np.float32), Normalization())
        assert np.abs(q.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max() * 255 < 2**31


def test_weights_that_are_not_finite_stay_float():
    for bad in (np.nan, np.inf):
        w = np.ones((2, 3, 3, 3), np.float32)
        w[0, 0, 0, 0] = bad
        assert not quantize(w, Normalization()).error <= TOLERANCE


def test_zero_and_lonely_weights():
    w = np.zeros((2, 3, 3, 1), np.float32)
    w[1, 0, 0, 0] = 1e30
    q = quantize(w, Normalization())
    assert not q.weights[0].any() and q.weights[1, 0, 0, 0] == 32767
    assert q.error < TOLERANCE


@pytest.mark.parametrize("pooled", [False, True])
def test_within_tolerance_of_float32(pooled, tmp_path, every_target):
    model, x = Stem(pooled).eval(), image()
    floats = torch.from_numpy(Normalization(**IMAGENET).apply(x))
    with torch.inference_mode():
        wanted = model(floats).numpy()
    reach = np.abs(model.conv.weight.detach().numpy()).sum(axis=(1, 2, 3)) * 2.7
    results = []
    for target in every_target:
        net = bnn_compiler.compile(
            model,
            (floats,),
            output=tmp_path / "n.bnn",
            input_dtype="uint8",
            target=target,
            **IMAGENET,
        )
        ops = [s["op"] for s in net.manifest["steps"]]
        assert ("bnn.bytes" in str(ops)) is pooled and ("bnn.byte_conv2d" in ops) is not pooled
        results.append(net.run(x))
        assert (np.abs(results[-1] - wanted) <= TOLERANCE * reach[:, None, None] + 1e-5).all()
        assert bnn_compiler.verify(net, model, [x]).ok
    assert all(np.array_equal(r, results[0]) for r in results)


def test_clear_errors(tmp_path):
    model, floats = Stem().eval(), torch.randn(1, 3, 18, 18)
    options = {"output": tmp_path / "n.bnn"}
    with pytest.raises(InputError, match="known: 'float32', 'uint8'"):
        bnn_compiler.compile(model, (floats,), input_dtype="int8", **options)
    with pytest.raises(InputError, match="2 values, the input 3 channels"):
        bnn_compiler.compile(model, (floats,), input_dtype="uint8", mean=(0, 0), **options)
    with pytest.raises(InputError, match="float32 comes normalised"):
        bnn_compiler.compile(model, (floats,), mean=(0.5,), **options)
    with pytest.raises(InputError, match="std positive"):
        bnn_compiler.compile(model, (floats,), input_dtype="uint8", std=(0.0,), **options)
    net = bnn_compiler.compile(model, (floats,), input_dtype="uint8", **options)
    with pytest.raises(InputError, match="is float32, compiled for uint8"):
        net.run(floats.numpy())
