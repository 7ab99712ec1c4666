import pytest
import torch

from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_every_binary_weight_gets_a_gradient(name):
    model = zoo.get(name)(width=0.125).train()
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    convs = [m for m in model.modules() if isinstance(m, BinaryConv2d)]
    for conv in convs:
        assert conv.weight.grad.isfinite().all()
        assert conv.weight.grad.any()


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_export_in_eval_mode(name):
    model, x = zoo.get(name)(width=0.125), torch.randn(2, 3, 32, 32)
    zoo.randomize(model, x)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("name", ["react_birealnet18", "xnornet"])
def test_learns_sixteen_images_by_heart(name):
    model = zoo.get(name)(num_classes=4, width=0.125)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 4
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
