"""How the suite is shared among processes: file by file, these files test by test."""

#: Files whose tests share nothing that takes long to make.
SPLIT = (
    "tests/docs/test_pages.py",
    "tests/gate/test_digests.py",
    "tests/test_compile.py",
    "tests/tune/test_shipped.py",
    "tests/zoo/test_networks.py",
)
