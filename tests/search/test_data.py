import sys

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.data import Part, Tensors, batches, load
from tests.search.test_images import files, write


def ids(data):
    return [int(x.mean().round()) for images, _ in batches(data, 7) for x in images]


def module(monkeypatch, **contents):
    found = type(sys)("users_data")
    vars(found).update(contents)
    monkeypatch.setitem(sys.modules, "users_data", found)


def numbered(count, start=0):
    """Image i is full of i, its label i modulo 3."""
    n = torch.arange(start, start + count)
    return TensorDataset(n.float()[:, None, None, None].expand(-1, 1, 4, 4), n % 3)


def test_splits_are_disjoint_whole_and_of_the_seed(monkeypatch):
    module(monkeypatch, one=lambda: numbered(100))
    splits = load("users_data:one", choose=0.25, test=0.2)
    parts = [ids(splits.train), ids(splits.choose), ids(splits.test)]
    assert [len(p) for p in parts] == [60, 20, 20]
    assert sorted(i for p in parts for i in p) == list(range(100))
    again = load("users_data:one", choose=0.25, test=0.2)
    assert ids(again.choose) == parts[1]
    assert ids(load("users_data:one", choose=0.25, test=0.2, seed=3).choose) != parts[1]


def test_a_pair_brings_its_own_test_images(monkeypatch):
    module(monkeypatch, two=lambda: (numbered(40), numbered(10, start=40)))
    splits = load("users_data:two")
    assert ids(splits.test) == list(range(40, 50))
    assert sorted(ids(splits.train) + ids(splits.choose)) == list(range(40))


def test_labels_stay_with_their_images(monkeypatch):
    module(monkeypatch, one=lambda: numbered(60))
    for part in vars(load("users_data:one")).values():
        for images, labels in batches(part, 8):
            assert labels.dtype == torch.int64
            assert torch.equal(images[:, 0, 0, 0].long() % 3, labels)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_follow_the_order(workers):
    data = numbered(10)
    order = torch.tensor([3, 1, 9, 9, 0])
    for each in (Tensors(*data.tensors), data, Part(data, torch.arange(10))):
        found = [b[0][:, 0, 0, 0].tolist() for b in batches(each, 2, order, workers=workers)]
        assert found == [[3, 1], [9, 9], [0]]


def test_a_folder_of_idx_files(tmp_path):
    files(tmp_path, count=10)
    files(tmp_path, prefix="t10k", count=4)
    splits = load(str(tmp_path))
    assert [len(p) for p in vars(splits).values()] == [8, 2, 4]
    assert isinstance(splits.train, Tensors)


def test_a_folder_of_images(tmp_path):
    for c, name in enumerate("xyz"):
        for i in range(5):
            write(tmp_path / name / f"{i}.png", (80 * c, 0, 0))
    splits = load(str(tmp_path), size=8)
    assert [len(p) for p in vars(splits).values()] == [10, 2, 3]
    images, labels = next(batches(splits.train, 10))
    assert images.shape == (10, 3, 8, 8)
    assert torch.allclose(images[:, 0, 0, 0], 80 * labels / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_folder_with_its_own_test_images(name, tmp_path):
    for label in "xy":
        for i in range(4):
            write(tmp_path / "train" / label / f"{i}.png", 0, mode="L")
    write(tmp_path / name / "y/0.png", 255, mode="L")
    splits = load(str(tmp_path), size=8, choose=0.25)
    assert [len(p) for p in vars(splits).values()] == [6, 2, 1]
    assert splits.test[0][1] == 1


def test_mlxtends_digits():
    splits = load("mnist_5k")
    assert [len(p) for p in vars(splits).values()] == [3200, 800, 1000]


class Endless(Dataset):
    def __getitem__(self, index):
        return torch.zeros(1, 4, 4), 0


def test_sources_that_cannot_be_used_are_named(monkeypatch, tmp_path):
    module(monkeypatch, none=lambda: 3, endless=Endless, many=lambda: [numbered(3)] * 3)
    with pytest.raises(TrainingError, match="'nowhere' is no folder"):
        load("nowhere")
    with pytest.raises(TrainingError, match="No module named"):
        load("no.module:f")
    with pytest.raises(TrainingError, match="has no attribute 'missing'"):
        load("users_data:missing")
    for name in ("none", "endless", "many"):
        with pytest.raises(TrainingError, match=f"users_data:{name} returned"):
            load(f"users_data:{name}")
    (tmp_path / "train").mkdir()
    with pytest.raises(TrainingError, match="neither test/ nor val/"):
        load(str(tmp_path))
    with pytest.raises(TrainingError, match=r"a share of 1\.5"):
        load("mnist_5k", choose=1.5)
    module(monkeypatch, tiny=lambda: numbered(2))
    with pytest.raises(TrainingError, match="no images are left to"):
        load("users_data:tiny")
