"""Every network of the zoo compiles, and every kernel of it is exact, on every CPU target."""

import functools
import os

import numpy as np
import pytest
import torch

import bnn_compiler
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.deploy.cpu.emulate import emulate
from bnn_compiler.errors import ModelError
from tests import edge

#: Each has relatives among the others; with BNN_ZOO_FULL=1 they run at full size and on ARM too.
RELATIVES = {
    *("bireal_depth", "birealnet34", "birealnet50"),
    *("react_birealnet18", "reactnet_b", "reactnet_c"),
}


def networks():
    """Every network; relatives are slow."""
    left_out = pytest.mark.skipif(not os.environ.get("BNN_ZOO_FULL"), reason="set BNN_ZOO_FULL=1")
    for name in sorted(zoo.NETWORKS):
        yield pytest.param(name, marks=(pytest.mark.slow, left_out) if name in RELATIVES else ())


def make(name, size, width, batch=1):
    factory = zoo.get(name)
    model = factory(width=width, size=size) if name == "bop_net" else factory(width=width)
    x = torch.randn(batch, 3, size, size)
    zoo.randomize(model, x, signed=name in ("xnornet", "bop_net"))
    return model, x


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(name, target) -> (artifact, model, input) of a small network, compiled once."""
    folder = tmp_path_factory.mktemp("small")

    @functools.cache
    def network(name):
        torch.manual_seed(0)
        return make(name, 32, 0.25, batch=2)

    @functools.cache
    def compiled(name, target):
        model, x = network(name)
        output = folder / f"{name}-{target}"
        return bnn_compiler.compile(model, (x,), target=target, output=output), model, x

    return compiled


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_small(name, small, every_target):
    results = []
    for target in every_target:
        artifact, model, x = small(name, target)
        results.append(artifact.run(x).numpy())
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    assert report.top1_agreement == 1.0
    assert sum(k.binary for k in report.kernels) >= 4
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    artifact.set_threads(3)
    np.testing.assert_array_equal(artifact.run(x).numpy(), results[-1])


@pytest.mark.parametrize("name", networks())
def test_small_on_arm_gives_the_same_bits(name, small):
    edge.qemu(), edge.zig()
    here, _, x = small(name, targets.native().name)
    there, _, _ = small(name, "cortex-a72")
    for threads in (1, 4):
        (result,) = emulate(there.path, [x.numpy()], threads=threads)
        np.testing.assert_array_equal(result, here.run(x).numpy())


@pytest.mark.parametrize("name", list(networks()))
def test_full_size(name, tmp_path):
    model, x = make(name, 224, 1.0)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()


@pytest.mark.parametrize(
    ("name", "giga_macs"),
    [
        ("birealnet18", 1.676),
        ("birealnet34", 3.526),
        ("birealnet50", 3.597),
        ("reactnet_a", 4.817),
        ("reactnet_b", 4.689),
        ("reactnet_c", 4.689),
    ],
)
def test_binary_macs_are_the_papers(name, giga_macs):
    from bnn_compiler.nn import BinaryConv2d

    model = zoo.get(name)().to("meta").eval()
    total = 0

    def count(module, args, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, 224, 224, device="meta"))
    assert total / 1e9 == pytest.approx(giga_macs, abs=1e-3)


def test_unknown_name_lists_the_known():
    with pytest.raises(ModelError, match="reactnet_a"):
        zoo.get("resnet")
