import math

import pytest
import torch

from bnn_compiler.errors import TrainingError
from bnn_compiler.nn import distillation_loss, distribution_loss


def softmax(row):
    e = [math.exp(v) for v in row]
    return [v / sum(e) for v in e]


STUDENT = [[1.0, -0.5, 2.0], [0.0, 3.0, -1.0]]
TEACHER = [[0.3, 0.1, 1.5], [1.0, 1.0, -2.0]]


def test_distribution_loss_is_the_papers_sum():
    wanted = 0.0
    for s, t in zip(STUDENT, TEACHER, strict=True):
        p, q = softmax(t), softmax(s)
        wanted -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / 2
    loss = distribution_loss(torch.tensor(STUDENT), torch.tensor(TEACHER))
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_distribution_loss_is_least_at_the_teacher_and_gives_it_no_gradient():
    teacher = torch.tensor(TEACHER, requires_grad=True)
    student = torch.tensor(TEACHER, requires_grad=True)
    distribution_loss(student, teacher).backward()
    assert student.grad.abs().max() < 1e-6
    assert teacher.grad is None


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (4.0, 0.9), (2.0, 0.0)])
def test_distillation_is_hintons_formula(temperature, weight):
    labels = [2, 0]
    soft = hard = 0.0
    for s, t, label in zip(STUDENT, TEACHER, labels, strict=True):
        p, q = (softmax([v / temperature for v in row]) for row in (t, s))
        soft += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
        hard -= math.log(softmax(s)[label]) / 2
    loss = distillation_loss(
        torch.tensor(STUDENT),
        torch.tensor(TEACHER),
        torch.tensor(labels),
        temperature=temperature,
        weight=weight,
    )
    assert loss.item() == pytest.approx(
        weight * temperature**2 * soft + (1 - weight) * hard, rel=1e-5
    )


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"weight": 1.5}, {"weight": -0.1}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(TrainingError, match=str(next(iter(options.values())))):
        distillation_loss(
            torch.tensor(STUDENT), torch.tensor(TEACHER), torch.tensor([0, 1]), **options
        )


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2, 3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(TrainingError, match=r"student \[2, 3\]"):
        distribution_loss(torch.tensor(STUDENT), torch.zeros(shape))
