"""Networks that torch.export refuses."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.pytorch import record, trace
from tests.network import Function, assert_agrees, image


class Replacing(nn.Conv2d):
    """Signs its input and its weights by writing them into .data, as BinaryNet does."""

    def forward(self, x):
        x.data = x.data.sign()
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = self.weight.org.sign()
        return F.conv2d(x, self.weight, self.bias)


class Annealed(nn.Conv2d):
    """Asks a buffer and a number made of its weights."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("temperature", torch.full((1,), 1e-9))

    def forward(self, x):
        bound = float(np.percentile(self.weight.detach().abs().numpy(), 90))
        bound = bound * self.weight.detach().std().item()
        weight = self.weight.clamp(-bound, bound)
        return F.conv2d(x, weight.sign() if self.temperature < 1e-7 else weight)


class Counting(nn.Conv2d):
    """Writes attributes of every kind, and decides by one."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.calls, self.seen, self.sizes = 0, torch.zeros(1), []
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.steps += 1
        self.seen.fill_(float(x.numel()))
        self.sizes.append(tuple(x.shape))
        self.weight.requires_grad_(False)
        self.last = super().forward(x)
        self.weight.data.mul_(2)
        return self.last * self.calls if self.steps.item() > 0 else self.last


MODELS = {
    "replacing": lambda: nn.Sequential(nn.Hardtanh(), Replacing(4, 4, 3), Replacing(4, 4, 3)),
    "annealed": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Annealed(4, 4, 3)),
    "counting": lambda: nn.Sequential(Counting(4, 4, 3)),
}


def _state(model):
    tensors = {n: (t.data_ptr(), t.clone(), dict(t.__dict__)) for n, t in _tensors(model)}
    attributes = {n: copy.copy(m.__dict__) for n, m in model.named_modules()}
    return tensors, attributes


def _tensors(model):
    plain = [(f"{n}.seen", m.seen) for n, m in model.named_modules() if hasattr(m, "seen")]
    return [*model.named_parameters(), *model.named_buffers(), *plain]


@pytest.mark.parametrize("name", MODELS)
def test_it_gives_the_models_numbers_and_leaves_the_model_as_it_was(name):
    torch.manual_seed(0)
    model = MODELS[name]().train()
    tensors, attributes = _state(model)
    traced = trace.trace(model, (image(4),))
    assert "one run was recorded" in traced.note
    after, now = _state(model)
    for key, (pointer, value, extra) in tensors.items():
        assert after[key][0] == pointer and torch.equal(after[key][1], value)
        assert after[key][2] == extra == {}
    for key, before in attributes.items():
        assert now[key].keys() == before.keys() and now[key]["training"]
        assert now[key].get("sizes") == before.get("sizes")
        assert now[key].get("calls") == before.get("calls")
    assert all(p.requires_grad for p in model.parameters())
    x, reference = torch.randn(1, 4, 6, 6), copy.deepcopy(model).eval()
    found = trace.interpreter(traced).run(x.clone())[0]
    with torch.no_grad():
        torch.testing.assert_close(found, reference(x))


def test_layers_and_weights_have_the_models_names():
    traced = trace.trace(MODELS["replacing"]().eval(), (image(4),))
    convs = [n for n in traced.graph.nodes if trace.op_name(n) == "conv2d"]
    assert [n.meta["module_path"] for n in convs] == ["1", "2"]
    assert all("test_record.py:" in n.meta["line"] for n in convs)
    names = {n.meta["tensor"] for n in traced.graph.nodes if n.op == "get_attr"}
    assert names == {"1.weight", "1.bias", "2.weight", "2.bias"}
    assert [i.name for i in traced.inputs] == ["input"]


def test_the_passes_take_it():
    graph = assert_agrees(MODELS["annealed"]().eval(), image(4))
    assert len(graph.outputs) == 1


def test_what_was_frozen_is_named():
    note = trace.trace(MODELS["annealed"]().eval(), (image(4),)).note
    assert note.count("(constant)") == 3 and "of the input" not in note
    harmless = Function(lambda m, x: x + 1 if x.max() < 100 else x)
    note = trace.trace(harmless, (image(4),)).note
    assert note.count("test_record.py:") == 2 and "(of the input)" in note


REFUSED = {
    "branch": lambda m, x: x + 1 if x[0, 0, 0, 0] > 0 else x - 1,
    "number": lambda m, x: x * x.mean().item(),
    "array": lambda m, x: x + torch.from_numpy(x.numpy().copy()),
    "list": lambda m, x: x + torch.tensor(x[0, 0, 0].tolist()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_that_does_not_stand_for_others(name):
    model, x = Function(REFUSED[name]), image(4).abs()
    found = record.record(model, [x])
    assert [f.of_inputs for f in found.frozen] == [True]
    assert "test_record.py:" in found.frozen[0].line
    assert record.differs(found.program, model, [x]) > 1e-3


def test_such_a_run_is_refused():
    with pytest.raises(
        ModelError, match=r"fresh input they differ.*test_record.py:\d+ \(of the in"
    ):
        trace.trace(Function(REFUSED["branch"]), (image(4).abs(),))


def test_a_model_that_cannot_run_names_its_line():
    with pytest.raises(ModelError, match=r"nor recorded: .*test_record.py:\d+"):
        trace.trace(Function(lambda m, x: x.reshape(7, 7)), (image(4),))
