from pathlib import Path

ROOT = Path(__file__).parent


def test_every_pass_has_its_test():
    passes = (ROOT.parent / "bnn_compiler" / "passes").glob("*.py")
    names = {p.stem for p in passes} - {"__init__", "graph", "pipeline"}
    assert names == {p.stem.removeprefix("test_") for p in (ROOT / "passes").glob("test_*.py")}


def test_no_file_outgrows_one_idea():
    for path in (ROOT.parent / "bnn_compiler").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
