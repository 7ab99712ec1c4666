"""Random small networks through the whole compiler, against the numpy reference."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import bnn_compiler
from bnn_compiler import zoo
from bnn_compiler.errors import InputError
from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign, Sign, sign


class Layer(nn.Module):
    """sign, binary convolution with drawn attributes, batch norm, maybe shortcut and RPReLU."""

    def __init__(self, channels, attributes, shortcut, react, norm):
        super().__init__()
        outputs = attributes.pop("outputs")
        self.sign = RSign(channels) if react else Sign()
        self.conv = BinaryConv2d(channels, outputs, **attributes)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.act = RPReLU(outputs) if react else nn.Identity()
        self.shortcut = shortcut

    def forward(self, x):
        y = self.norm(self.conv(self.sign(x)))
        if self.shortcut and y.shape == x.shape:
            y = y + x
        return self.act(y)


@st.composite
def networks(draw):
    channels = draw(st.sampled_from([1, 3, 8, 24, 33, 64, 100]))
    layers = []
    first = channels
    for _ in range(draw(st.integers(1, 3))):
        same = draw(st.booleans())
        outputs = channels if same else draw(st.sampled_from([1, 5, 16, 40, 96]))
        groups = draw(
            st.sampled_from([g for g in range(1, channels + 1) if not channels % g | outputs % g])
        )
        kernel = draw(st.sampled_from([1, 2, 3, 5]))
        attributes = {
            "outputs": outputs,
            "kernel_size": kernel,
            "stride": draw(st.sampled_from([1, 2])),
            "padding": draw(st.integers(kernel // 2, kernel // 2 + 1)),
            "dilation": draw(st.sampled_from([1, 1, 2])) if kernel < 5 else 1,
            "groups": groups,
            "scale": draw(st.booleans()),
            "pad_value": draw(st.sampled_from([-1, 0, 1])),
        }
        flags = [draw(st.booleans()) for _ in range(3)]
        layers.append(Layer(channels, attributes, *flags))
        channels = outputs
    batch, size = draw(st.sampled_from([1, 3])), draw(st.integers(7, 13))
    return nn.Sequential(nn.Conv2d(2, first, 3, padding=1), *layers), (batch, 2, size, size)


@given(network=networks(), seed=st.integers(0, 2**16))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_random_networks_are_exact(network, seed, tmp_path):
    model, shape = network
    torch.manual_seed(seed)
    x = torch.randn(shape)
    zoo.randomize(model, x, seed=seed, signed=seed % 2 == 0)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    assert any(k.binary for k in report.kernels)


def test_numpy_in_numpy_out_and_odd_shapes(tmp_path):
    model = nn.Sequential(Sign(), BinaryConv2d(33, 5, 1), nn.BatchNorm2d(5)).eval()
    x = np.random.default_rng(0).normal(size=(3, 33, 1, 1)).astype(np.float32)
    artifact = bnn_compiler.compile(model, (torch.from_numpy(x),), output=tmp_path / "n.bnn")
    result = artifact.run(x)
    assert isinstance(result, np.ndarray)
    expected = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_verify_compares_every_sign_of_the_model(tmp_path):
    model, x = zoo.xnornet(num_classes=3, width=0.1), torch.randn(1, 3, 32, 32)
    zoo.randomize(model, x)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert len(report.signs) == sum(isinstance(m, Sign) for m in model.modules()) == 4


class TwoPools(nn.Module):
    """Pools of different windows on bits of equal layouts."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (BinaryConv2d(8, 32, 3, padding=1) for _ in range(2))
        self.c, self.d = (BinaryConv2d(32, 16, 1) for _ in range(2))

    def forward(self, x):
        x = sign(x)
        pool = nn.functional.max_pool2d
        first = sign(pool(self.a(x) - 0.5, 3, 2, 1))
        return self.c(first) + self.d(sign(pool(self.b(x) - 0.5, 2, 2)))


def test_kernels_of_equal_layouts_are_told_apart(tmp_path):
    model, x = TwoPools().eval(), torch.randn(1, 8, 8, 8)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    assert sum(s["op"] == "bnn.bits_max_pool2d" for s in net.manifest["steps"]) == 2
    assert bnn_compiler.verify(net, model, [x]).ok
    assert torch.allclose(net.run(x), model(x).detach(), atol=1e-5)


def test_any_name_of_a_file_will_do(tmp_path):
    model, x = zoo.xnornet(num_classes=3, width=0.1), torch.randn(1, 3, 8, 8)
    zoo.randomize(model, x)
    for name in ("bnn_threads.bnn", "libc.bnn", "1 a-b.bnn"):
        bnn_compiler.compile(model, (x,), output=tmp_path / name).close()
    with pytest.raises(InputError, match="give a C identifier"):
        bnn_compiler.compile(model, (x,), output=tmp_path / "x.bnn", name="a b")
