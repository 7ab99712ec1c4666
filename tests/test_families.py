import json

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.kernels.cpu.float32 import Float32Point
from bnn_compiler.kernels.cpu.winograd import WinogradPoint
from bnn_compiler.kernels.point import Foreign
from tests.kernels import kernel

WINOGRAD = {
    "family": "winograd",
    "pixels": 4,
    "vectors": 1,
    "word": 32,
    "order": "channels",
    "unroll": 1,
}


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4", "x86-avx512-vpopcnt"])
def test_shipped_records_are_written_as_they_were_read(name, tmp_path):
    path = records.shipped(targets.load(name))
    records.write(tmp_path / "again.jsonl", records.read(path))
    assert (tmp_path / "again.jsonl").read_text() == path.read_text()


def test_every_point_survives_json(every_target):
    tasks = [
        kernel.task(64, 8, 64),
        kernel.task(3, 8, 20, dtype="float32"),
        kernel.task(3, 8, 20, dtype="int16"),
        kernel.task(16, 8, 16, groups=16, dtype="float32"),
        kernel.task(3, 32, 64, 7, 2, 3, dtype="float32", winograd=True),
    ]
    seen = set()
    for task in tasks:
        for name in every_target:
            space = families.space(task, targets.load(name).hardware)
            assert len(set(space)) == len(space) >= 1
            for point in space:
                assert families.point_of(json.loads(json.dumps(point.as_dict()))) == point
                seen.add(point.family)
    assert seen >= {"popcount", "float32", "int16", "depthwise", "winograd"}


def test_a_point_has_its_own_familys_fields():
    assert families.point_of(WINOGRAD) == WinogradPoint(2, whole=True)
    for wrong in ({"vectors": 2}, {"word": 64}, {"unroll": 2}, {"pixels": 3}, {"order": "rows"}):
        with pytest.raises(TypeError, match="not a schedule"):
            families.point_of({**WINOGRAD, **wrong})
    with pytest.raises(TypeError):
        families.point_of({"family": "depthwise", "pixels": 1})
    with pytest.raises(TypeError):
        families.point_of({"family": "float32", "pixels": 1})
    with pytest.raises(TypeError, match="not a schedule"):
        families.point_of({"family": "float32", "pixels": 1, "vectors": 1, "word": True})
    assert Float32Point(2, 1, 32).as_dict()["family"] == "float32"


def test_families_have_names_of_their_own():
    names = [f.name for found in families.FAMILIES.values() for f in found]
    assert len(set(names)) == len(names)
    assert all(f.point.family == f.name for found in families.FAMILIES.values() for f in found)


def test_an_unknown_family_is_kept_and_computes_nothing():
    data = {"family": "systolic", "rows": 8}
    point = families.point_of(data)
    assert isinstance(point, Foreign) and point.as_dict() == data
    assert point == families.point_of(data) != families.point_of({**data, "rows": 4})
