import pickle

import pytest
import torch
from torch import nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.data import Tensors
from bnn_compiler.search.recalibrate import Inherited, accuracy, recalibrate
from bnn_compiler.search.supernet import Supernet
from tests.search.small import quadrants, space


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))


def test_statistics_are_the_average_over_the_batches():
    net = chain()
    net[1].running_mean.fill_(9.0)
    images = torch.randn(3, 20, 1, 6, 6)
    recalibrate(net, images)
    means = torch.stack([net[0](b).mean((0, 2, 3)) for b in images]).mean(0)
    variances = torch.stack([net[0](b).var((0, 2, 3)) for b in images]).mean(0)
    torch.testing.assert_close(net[1].running_mean, means)
    torch.testing.assert_close(net[1].running_var, variances)


def test_every_norm_sees_what_the_ones_before_it_give_in_training():
    net, images = chain(), torch.randn(1, 40, 1, 6, 6)
    recalibrate(net, images)
    reference = chain().train()
    for norm in (reference[1], reference[3]):
        norm.momentum = 1.0
    reference(images[0])
    torch.testing.assert_close(net[3].running_mean, reference[3].running_mean)
    torch.testing.assert_close(net[3].running_var, reference[3].running_var)


def test_nothing_else_changes():
    net = nn.Sequential(chain(), nn.Dropout(0.5), nn.BatchNorm2d(3, track_running_stats=False))
    net.train()
    weights = [p.clone() for p in net.parameters()]
    recalibrate(net, [torch.randn(8, 1, 6, 6)])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), weights, strict=True))
    assert net[0][1].momentum == 0.1
    assert not any(m.training for m in net.modules())


def test_it_saves_the_accuracy_of_a_crop():
    net = Supernet(space())
    with torch.no_grad():
        net.model.norm1.running_mean.fill_(50.0)
    data = Tensors(*quadrants(200))
    network = net.network({"a": 8})
    assert accuracy(network, data) < 0.5
    other = net.network({"a": 8})
    recalibrate(network, [data.images])
    recalibrate(other, [data.images])
    assert accuracy(network, data) == accuracy(other, data)
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize(("images", "count"), [(65, 64), (130, 128), (20, 20), (64, 64)])
def test_batches_are_whole(images, count):
    seen = []

    class Spy(Supernet):
        def network(self, plan):
            network = super().network(plan)
            network.register_forward_pre_hook(
                lambda module, args: seen.append((module.norm0.training, len(args[0])))
            )
            return network

    data = Tensors(*quadrants(images))
    Inherited(Spy(space()), data, data, batch=64)({"a": 4})
    assert sum(n for training, n in seen if training) == count


def test_a_worker_gets_the_same_accuracy():
    data = Tensors(*quadrants(100))
    judge = Inherited(Supernet(space()), data, data)
    plan = {"a": 7, "conv2.groups": 3}
    found = judge(plan)
    assert pickle.loads(pickle.dumps(judge))(plan) == found


def test_accuracy_is_the_share_of_right_answers():
    class Brightest(nn.Module):
        def forward(self, x):
            quads = [x[:, 0, a : a + 6, b : b + 6].mean((1, 2)) for a in (0, 6) for b in (0, 6)]
            return torch.stack(quads, 1)

    images, labels = quadrants(100)
    assert accuracy(Brightest(), Tensors(images, labels), batch=33) == 1.0
    labels[:25] = (labels[:25] + 1) % 4
    assert accuracy(Brightest(), Tensors(images, labels), batch=33) == 0.75


def test_what_is_not_finite_is_an_error():
    net = chain()
    with pytest.raises(TrainingError, match="no images"):
        recalibrate(net, [])
    assert net[1].momentum == 0.1
    with pytest.raises(TrainingError, match="statistics of 1 are not finite"):
        recalibrate(net, [torch.full((4, 1, 6, 6), torch.nan)])
    source = space()
    source.model.fc.bias.data[0] = torch.inf
    data = Tensors(*quadrants(20))
    with pytest.raises(TrainingError, match="outputs are not finite"):
        Inherited(Supernet(source), data, data)({"a": 4})
    with pytest.raises(TrainingError, match="no images to measure"):
        accuracy(net, Tensors(data.images[:0], data.labels[:0]))
