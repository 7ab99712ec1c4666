import pytest

from bnn_compiler.latency import regress


@pytest.fixture(scope="session", autouse=True)
def few_trees():
    """Enough for machines made of a formula."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regress, "_ROUNDS", 60)
        yield
