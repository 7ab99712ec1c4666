import pytest

from bnn_compiler.report import ProfileReport
from bnn_compiler.runtime import LayerProfile
from bnn_compiler.runtime.bounds import Level, Peaks

PEAKS = Peaks(1000.0, 50.0, 0.0, (Level("L1", 10_000, 200.0), Level("DRAM", None, 20.0)))
LAYERS = [
    LayerProfile(
        "stem", "bnn.float_conv2d", 4e-5, 3e-5, 10**6, False, [], "default", 6000, 2000, 0
    ),
    LayerProfile(
        "<conv & sign>", "bnn.conv2d", 5e-6, 4e-6, 2 * 10**6, True, ["sign"], "default", 900, 90, 10
    ),
    LayerProfile("pool", "bnn.max_pool2d", 1e-5, 1e-5, 0, False, [], "default", 80_000, 20_000, 0),
]


@pytest.fixture
def report():
    """Three layers: bound by fma, popcount and memory, at 50, 40 and 50 % of their rooflines."""
    return ProfileReport("net.bnn", "x86-64-v3", "a CPU", 1, LAYERS, PEAKS)


@pytest.fixture
def without_peaks():
    return ProfileReport("net.bnn", "x86-64-v3", "a CPU", 2, LAYERS, None, "no C compiler")
