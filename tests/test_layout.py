from pathlib import Path

ROOT = Path(__file__).parent


def test_every_pass_has_its_test():
    passes = (ROOT.parent / "bnn_compiler" / "passes").glob("*.py")
    names = {p.stem for p in passes} - {"__init__", "graph", "pipeline"}
    assert names == {p.stem.removeprefix("test_") for p in (ROOT / "passes").glob("test_*.py")}


def test_no_file_outgrows_one_idea():
    for path in (ROOT.parent / "bnn_compiler").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_merge_was_left_half_done():
    for path in ROOT.parent.rglob("*"):
        inside = path.relative_to(ROOT.parent).parts
        if path.suffix not in (".md", ".py", ".toml", ".c", ".h") or inside[0].startswith("."):
            continue
        lines = path.read_text(errors="replace").splitlines()
        assert not [x for x in lines if x.startswith(("<" * 7, ">" * 7))], path
