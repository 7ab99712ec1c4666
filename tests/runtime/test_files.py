"""Whatever is changed in an artifact is one ArtifactError, before its numbers are used."""

import json
import random
import warnings

import numpy as np
import pytest

import bnn_compiler
from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime import cpu, files, manifest, seal
from tests import artifact

#: Of another type, negative, huge, empty.
VALUES = [None, True, -64, 2**62, 10**30, 1.5, float("nan"), "", "x", [], {}, [[10**9, 10**9]]]


@pytest.fixture(scope="module")
def members(small_artifact):
    return artifact.members(small_artifact[0])


@pytest.fixture(scope="module")
def name(members):
    return json.loads(members["manifest.json"])["name"]


def refused(path, words="."):
    with pytest.raises(ArtifactError, match=words) as caught:
        files.read(path)
    assert "\n" not in str(caught.value).strip()


def test_every_byte_of_one_file_counts(small_artifact, tmp_path):
    data = small_artifact[0].read_bytes()
    rng = random.Random(0)
    places = {*range(100), *range(len(data) - 450, len(data)), *rng.sample(range(len(data)), 200)}
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        (tmp_path / "net.bnn").write_bytes(changed)
        refused(tmp_path / "net.bnn")
    for content in (data + b"\0", b"\0" + data, data[1:], data[:-1], data + data, data[:99], b""):
        (tmp_path / "net.bnn").write_bytes(content)
        refused(tmp_path / "net.bnn")


def test_every_byte_of_a_folder_counts(members, tmp_path):
    for name, content in members.items():
        (tmp_path / name).write_bytes(content)
    assert files.read(tmp_path).members.keys() == members.keys() - {"manifest.json"}
    (tmp_path / "README").write_text("nothing of it is looked at")
    (tmp_path / "folder").mkdir()
    files.read(tmp_path)
    rng = random.Random(0)
    for name, content in members.items():
        every = range(len(content)) if name == "manifest.json" else range(0)
        for at in {*rng.sample(every, len(every) // 30), *rng.sample(range(len(content)), 20)}:
            changed = bytearray(content)
            changed[at] ^= 1
            (tmp_path / name).write_bytes(changed)
            refused(tmp_path)
        for changed in (content + b"\n", content[:-1], b""):
            (tmp_path / name).write_bytes(changed)
            refused(tmp_path)
        (tmp_path / name).unlink()
        refused(tmp_path, "missing|has no manifest")
        (tmp_path / name).write_bytes(content)
    files.read(tmp_path)


def test_a_manifest_is_the_one_its_library_was_compiled_with(members, tmp_path):
    path = tmp_path / "net.bnn"
    for key in json.loads(members["manifest.json"]):
        for value in VALUES:

            def change(found, key=key, value=value):
                same = json.dumps(found[key]) == json.dumps(value)
                found[key] = "changed" if same else value

            refused(artifact.write(path, artifact.edited(members, change)))
        refused(artifact.write(path, artifact.edited(members, lambda m, key=key: m.pop(key))))
        reordered = artifact.edited(members, lambda m, key=key: m.update({key: m.pop(key)}))
        if key != "files":  # the last one
            refused(artifact.write(path, reordered))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["inputs"][0].update(shape=[10**9, 10**9]),
        lambda m: m["outputs"][0].update(shape=[1, 8]),
        lambda m: m["outputs"][0].update(dtype="float64"),
        lambda m: m["outputs"].append(m["outputs"][0]),
        lambda m: m["steps"].pop(),
        lambda m: m["steps"][0].update(reads=[99]),
        lambda m: m["buffers"][-1].update(offset=10**12),
        lambda m: m["target"].update(features=[]),
        lambda m: m["contract"].update(zero_weight="-1"),
        lambda m: m.update(new=1),
        lambda m: m["files"].update({"new.txt": seal.entry(b"")}),
        lambda m: m["files"]["example.c"].update(more=1),
        lambda m: m.update(weights_offset=m["weights_offset"] + 1),
        lambda m: m.update(weights_offset=float(m["weights_offset"])),
        lambda m: m.update(code_bytes=m["code_bytes"] + 1),
    ],
)
def test_inner_values_of_a_manifest(members, tmp_path, change):
    refused(artifact.write(tmp_path / "net.bnn", artifact.edited(members, change)))


def test_the_form_of_a_manifest(members, tmp_path):
    text = members["manifest.json"]
    deep = b'{"format": %d, "name": "n", "a": %s}' % (manifest.FORMAT, b"[" * 900 + b"]" * 900)
    for changed in (
        text + b" ",
        text.replace(b"\n", b""),
        text.replace(b'"threads": true', b'"threads": false, "threads": true'),
        text.replace(b'"format": 6', b'"format": 6.0'),
        b"{",
        b"\xff",
        b"[]",
        b"9" * 5000,
        b"[" * 100_000,
        deep,
    ):
        assert changed != text
        refused(artifact.write(tmp_path / "net.bnn", {**members, "manifest.json": changed}))


def test_texts_and_archives_belong_to_their_library(members, name, small_artifact, tmp_path):
    """Hashes are right, but the library was compiled with other ones."""
    _, model, x = small_artifact
    other = tmp_path / f"{name}.bnn"
    bnn_compiler.compile(model, (x,), output=other, target="x86-64-v3", threads=False)
    others = artifact.members(other)
    for file in members.keys() - {"manifest.json"}:
        content = {**members, file: others[file]}
        if others[file] == members[file]:
            content[file] = members[file] + b"\n"
        changed = artifact.edited(content, lambda m: None)
        refused(artifact.write(tmp_path / "net.bnn", changed))


def test_sizes_are_the_librarys_own(members, name, tmp_path):
    """Even if the digest in the library is made again, the sizes there count."""
    content = artifact.edited(members, lambda m: m.update(workspace_bytes=64))
    old, new = (
        bytes.fromhex(seal.digest(json.loads(c["manifest.json"]), c)) for c in (members, content)
    )
    for file in (f"{name}.so", f"{name}.a"):
        assert old in content[file]
        content[file] = content[file].replace(old, new)
    content = artifact.edited(content, lambda m: None)
    refused(artifact.write(tmp_path / "net.bnn", content), "other sizes")


def test_a_zip_holds_each_file_once_and_no_other(members, tmp_path):
    path, pairs = tmp_path / "net.bnn", sorted(members.items())
    files.read(artifact.write(path, pairs))
    refused(artifact.write(path, pairs, sealed=False), "changed after it was written")
    refused(artifact.write(path, [*pairs, ("zzz", b"")]), "holds .*zzz")
    refused(artifact.write(path, [*pairs, ("../evil", b"")]), "evil")
    refused(artifact.write(path, pairs[::-1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(artifact.write(path, [*pairs, pairs[0]]))
        refused(artifact.write(path, sorted([*pairs, pairs[2]])))
    for i, (file, _) in enumerate(pairs):
        refused(artifact.write(path, pairs[:i] + pairs[i + 1 :]), f"{file} is missing|no manifest")
    refused(artifact.write(path, {"a.txt": b"hello"}), "no manifest")


def test_a_library_that_is_none(members, name, tmp_path):
    for content in (b"", b"\x7fELF\x02\x01", members[f"{name}.so"][:5000], b"MZ" * 99):
        changed = artifact.edited({**members, f"{name}.so": content}, lambda m: None)
        refused(artifact.write(tmp_path / "net.bnn", changed), r"\.so is damaged")


def test_other_formats_say_what_to_do(members, tmp_path):
    path = tmp_path / "net.bnn"
    for version in (1, 2, 3, manifest.FORMAT + 1, str(manifest.FORMAT), None):
        for sealed in (True, False):
            old = artifact.edited(members, lambda m, v=version: m.update(format=v))
            artifact.write(path, old, sealed)
            refused(
                path,
                f"has format {version!r}, this version reads {manifest.FORMAT}; compile it again",
            )
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder/manifest.json").write_bytes(old["manifest.json"])
        refused(tmp_path / "folder", "compile it again")


def test_what_is_no_artifact(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "random").write_bytes(np.random.default_rng(0).bytes(5000))
    for path in (tmp_path / "folder", tmp_path / "absent", tmp_path / "random"):
        refused(path)


def test_the_cpu_is_checked_before_the_library_is_mapped(small_artifact, monkeypatch):
    path, _, x = small_artifact
    monkeypatch.setattr(cpu, "features", frozenset)
    described = bnn_compiler.load(path, run_here=False)
    assert described.manifest["steps"] and described.size_bytes == path.stat().st_size
    for use in (lambda: described.run(x), lambda: bnn_compiler.load(path)):
        with pytest.raises(ArtifactError, match=r"needs .*which this CPU lacks"):
            use()
    monkeypatch.setattr(cpu, "machine", lambda: "vax")
    with pytest.raises(ArtifactError, match="this machine is vax"):
        bnn_compiler.load(path)
