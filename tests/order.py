"""How the suite is shared among processes: the longest first, so that none ends long after another.

A unit of work is a file; of the files in ``SPLIT``, a test. The order is that of ``LONGEST``.
"""

#: Files whose tests share nothing that takes long to make.
SPLIT = (
    "tests/docs/test_pages.py",
    "tests/gate/test_digests.py",
    "tests/test_compile.py",
    "tests/tune/test_shipped.py",
    "tests/zoo/test_networks.py",
    "tests/zoo/test_spellings.py",
)

#: Beginnings of tests' names, by the time their unit takes.
LONGEST = (
    "tests/zoo/test_networks.py::test_full_size",
    "tests/tune/test_shipped.py",
    "tests/test_compile.py::test_random_networks",
    "tests/device/test_docs.py",
    "tests/docs/test_pages.py",
    "tests/search/test_command.py",
    "tests/tune/test_kit.py",
    "tests/gate/test_digests.py",
    "tests/latency/test_space.py",
    "tests/deploy/cpu/test_link.py",
    "tests/zoo/test_networks.py",
    "tests/tune/test_tuner.py",
    "tests/device",
    "tests/deploy",
    "tests/kernels",
    "tests/zoo",
)


def rank(test: str) -> int:
    """The place of a test in the order; equal for what ``LONGEST`` does not name."""
    return next((i for i, start in enumerate(LONGEST) if test.startswith(start)), len(LONGEST))


def unit(test: str) -> str | None:
    """The file whose tests stay in one process, or None."""
    path = test.split("::")[0]
    return None if path in SPLIT else path
