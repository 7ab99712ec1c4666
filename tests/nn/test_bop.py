import pytest
import torch

from bnn_compiler.errors import TrainingError
from bnn_compiler.nn import Bop, BopSchedule, linear, stepped


def test_parameters_become_exactly_one():
    p = torch.nn.Parameter(torch.tensor([0.3, -0.2, 0.0]))
    Bop([p])
    assert p.tolist() == [1.0, -1.0, 1.0]


def test_flips_follow_the_moving_average_and_the_threshold():
    p = torch.nn.Parameter(torch.ones(4))
    optimizer = Bop([p], threshold=0.3, gamma=0.5)
    average, weights = torch.zeros(4), torch.ones(4)
    # Too small; consistent; against; a sum that only grows past the threshold at the second step.
    for gradient in torch.tensor([[0.1, 2.0, -2.0, 0.5], [0.1, 2.0, -2.0, 0.5], [0.0, -9, 0, 0]]):
        p.grad = gradient.clone()
        optimizer.step()
        average = 0.5 * average + 0.5 * gradient
        weights = torch.where(weights * average > 0.3, -weights, weights)
        assert torch.equal(p.detach(), weights)
    assert p.tolist() == [1.0, 1.0, 1.0, -1.0]


def test_parameters_without_a_gradient_stay():
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = Bop([p, q], threshold=0.0, gamma=1.0)
    p.grad = torch.ones(2)
    optimizer.step()
    assert p.tolist() == [-1.0, -1.0]
    assert q.tolist() == [1.0, 1.0]


def test_recovers_a_binary_teacher():
    teacher = torch.where(torch.randn(1, 64) >= 0, 1.0, -1.0)
    student = torch.nn.Parameter(torch.randn(1, 64))
    optimizer = Bop([student], threshold=1e-3, gamma=0.3)
    for _ in range(60):
        x = torch.where(torch.randn(128, 64) >= 0, 1.0, -1.0)
        optimizer.zero_grad()
        ((x @ student.T - x @ teacher.T) / 64).square().mean().backward()
        optimizer.step()
    assert torch.equal(student.detach(), teacher)


def test_state_goes_round():
    def run(p, optimizer, gradients):
        for g in gradients:
            p.grad = g.clone()
            optimizer.step()

    gradients = torch.randn(6, 50, generator=torch.Generator().manual_seed(3))
    whole = torch.nn.Parameter(torch.ones(50))
    run(whole, Bop([whole], threshold=0.1, gamma=0.4), gradients)
    half = torch.nn.Parameter(torch.ones(50))
    first = Bop([half], threshold=0.1, gamma=0.4)
    run(half, first, gradients[:3])
    rest = torch.nn.Parameter(half.detach().clone())
    second = Bop([rest])
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["gamma"] == 0.4
    run(rest, second, gradients[3:])
    assert torch.equal(rest, whole)
    assert -50 < whole.sum() < 50


def test_a_closure_is_differentiated():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = Bop([p], threshold=0.0, gamma=1.0)

    def closure():
        optimizer.zero_grad()
        loss = p.sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 3.0
    assert p.tolist() == [-1.0] * 3


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"gamma": -1e-4}, {"threshold": -1e-9}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(TrainingError, match=str(next(iter(options.values())))):
        Bop([torch.nn.Parameter(torch.ones(1))], **options)


def test_schedules_set_every_group_and_go_round():
    p, q = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = Bop([{"params": [p]}, {"params": [q], "threshold": 1e-6}])

    def schedule():
        return BopSchedule(optimizer, gamma=stepped(1e-3, 0.5, 2), threshold=linear(1e-6, 0, 4))

    mine = schedule()
    seen = []
    for _ in range(5):
        seen.append([(g["gamma"], g["threshold"]) for g in optimizer.param_groups])
        mine.step()
    for step, groups in enumerate(seen):
        wanted = pytest.approx((1e-3 * 0.5 ** (step // 2), 1e-6 * (1 - step / 4)))
        assert groups[0] == wanted
        assert groups[1] == wanted
    state = mine.state_dict()
    again = schedule()
    again.load_state_dict(state)
    assert optimizer.param_groups[0]["gamma"] == pytest.approx(1e-3 * 0.25)
    assert again.steps == 5


def test_a_schedule_of_gamma_alone_keeps_the_thresholds():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = Bop([p], threshold=0.25)
    BopSchedule(optimizer, gamma=stepped(1e-4, 0.1, 10)).step()
    assert optimizer.param_groups[0]["threshold"] == 0.25
