import errno
import zipfile

import pytest

from bnn_compiler.deploy import package
from bnn_compiler.errors import ArtifactError

MANIFEST = {"format": 6, "files": {}}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "lib.so").write_bytes(b"library")
    return {"lib.so": tmp_path / "lib.so"}


@pytest.mark.parametrize("as_folder", [True, False])
def test_writes_and_replaces(files, tmp_path, as_folder):
    out = tmp_path / "out" / "net.bnn"
    for _ in range(2):
        package.write_artifact(out, MANIFEST, files, as_folder=as_folder)
    assert [p.name for p in out.parent.iterdir()] == ["net.bnn"]


def test_equal_contents_give_equal_files(files, tmp_path):
    for name in ("a", "b"):
        package.write_artifact(tmp_path / name, MANIFEST, files, as_folder=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "full"), ArtifactError, "disk is full"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_nothing_half_written(files, tmp_path, monkeypatch, error, raised, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(raised, match=words):
        package.write_artifact(tmp_path / "o" / "net.bnn", MANIFEST, files, as_folder=False)
    assert not list((tmp_path / "o").iterdir())


def test_refuses_to_replace_what_is_no_artifact(files, tmp_path):
    thesis, model, project = (tmp_path / n for n in ("thesis.txt", "net.pt2", "project"))
    thesis.write_text("years of work")
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("net/data.pkl", b"weights")
    project.mkdir()
    (project / "manifest.json").write_text('{"manifest_version": 3}')
    before = sorted(tmp_path.iterdir())
    for path in (thesis, model, project):
        with pytest.raises(ArtifactError, match="not an artifact"):
            package.write_artifact(path, MANIFEST, files, as_folder=False)
    assert sorted(tmp_path.iterdir()) == before
    assert thesis.read_text() and zipfile.is_zipfile(model) and list(project.iterdir())
