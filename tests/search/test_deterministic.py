import torch

from bnn_compiler.search.deterministic import deterministic


def test_the_same_numbers_and_everything_as_before():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    with deterministic(1, threads=2):
        first = torch.rand(2)
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(3), wanted)
    with deterministic(1):
        assert torch.equal(torch.rand(2), first)
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_errors_leave_everything_as_before():
    try:
        with deterministic(1):
            raise KeyError
    except KeyError:
        pass
    assert not torch.are_deterministic_algorithms_enabled()
