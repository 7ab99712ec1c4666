import torch

from bnn_compiler.nn import Bop


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
