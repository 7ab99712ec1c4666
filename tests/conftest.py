import platform

import pytest
import torch
from hypothesis import settings

from bnn_compiler import target as targets
from bnn_compiler.runtime import cpu
from tests import edge, order

# What an example takes depends on what else runs.
settings.register_profile("any speed", deadline=None)
settings.load_profile("any speed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Longest first; each unit of work in one process."""
    items.sort(key=lambda item: order.rank(item.nodeid))
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if unit := order.unit(item.nodeid):
                item.add_marker(pytest.mark.xdist_group(unit))


def pytest_collectstart(collector):
    """What a test module draws when it is imported is the same in every run."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)


def runnable(names):
    """The targets whose code this CPU can execute."""
    return [
        n
        for n in names
        if targets.load(n).arch == platform.machine()
        and set(targets.load(n).features) <= cpu.features()
    ]


@pytest.fixture
def every_target():
    found = runnable(targets.names())
    if not found:
        pytest.skip("this CPU runs none of the shipped targets")
    return found


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def qemu():
    """The emulator's command; tests of other machines are skipped without it or a linker."""
    edge.zig()
    return edge.qemu()


@pytest.fixture(scope="session")
def small_artifact(tmp_path_factory):
    """(path, model, input) of a compiled xnornet."""
    import bnn_compiler
    from bnn_compiler import zoo

    torch.manual_seed(0)
    model, x = zoo.xnornet(num_classes=7, width=0.2), torch.randn(1, 3, 32, 32)
    zoo.randomize(model, x)
    path = tmp_path_factory.mktemp("artifact") / "net.bnn"
    bnn_compiler.compile(model, (x,), output=path).close()
    return path, model, x
