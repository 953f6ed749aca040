"""What the outputs of networks depend on, beside gradients by hand."""

import numpy as np
import pytest

from kolmo.errors import InputError
from kolmo.lossy.calibrating import calibrated_scalings
from kolmo.lossy.moments import gradient_moments
from kolmo.lossy.sensitivity import Sensitivity

torch = pytest.importorskip("torch")


def jacobian_moments(model, examples, name):
    """Sums of ∇∇ᵀ and ∇ᵀ∇ over all outputs of each example, on average."""
    parameter = dict(model.named_parameters())[name]
    rows = columns = 0.0
    for example in examples:
        for output in model(example[None]).reshape(-1):
            own = torch.autograd.grad(output, parameter, retain_graph=True)[0].flatten(1)
            rows, columns = rows + own @ own.T, columns + own.T @ own
    return rows.numpy() / len(examples), columns.numpy() / len(examples)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


@pytest.mark.parametrize("name", ["0.weight", "2.weight"])
def test_moments_are_those_of_the_jacobian(network, name):
    examples = torch.randn(3, 4)
    found = gradient_moments(network, [examples], probes=1500)[name]
    rows, columns = jacobian_moments(network, examples, name)
    assert np.allclose(found.rows, rows, atol=0.15 * np.abs(rows).max())
    assert np.allclose(found.columns, columns, atol=0.15 * np.abs(columns).max())
    assert np.isclose(np.trace(found.rows), np.trace(found.columns))


def test_one_output_of_one_example_is_exact():
    convolution = torch.nn.Conv1d(4, 6, 3, groups=2)
    example = torch.randn(1, 4, 8)

    def outputs(model, batch):
        return model(batch).square().sum(dim=(1, 2))[:, None]

    found = gradient_moments(convolution, [example], outputs=outputs, probes=2)["weight"]
    total = outputs(convolution, example).sum()
    own = torch.autograd.grad(total, convolution.weight)[0].flatten(1).numpy()
    assert np.allclose(found.rows, own @ own.T, rtol=1e-4)
    assert np.allclose(found.columns, own.T @ own, rtol=1e-4)


def test_errors_at_positions_of_an_example_add_up():
    """A mean over positions depends on the mean of their inputs, and on nothing else."""
    model = torch.nn.Linear(2, 1, bias=False)
    positions = torch.tensor([[[3.0, 1.0], [-3.0, 1.0]]])
    found = gradient_moments(model, [positions], outputs=lambda m, x: m(x).mean(dim=1))
    assert np.allclose(found["weight"].columns, [[0, 0], [0, 1]])


def test_a_network_is_left_as_it_was(network):
    network.train()
    network[0].weight.requires_grad_(False)
    gradient_moments(network, [torch.randn(2, 4)])
    assert network.training
    assert not network[0].weight.requires_grad
    assert network[2].weight.requires_grad
    assert all(p.grad is None for p in network.parameters())


def test_all_kinds_of_batches_and_layers():
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(5000, 3)
            self.cells = torch.nn.LSTM(3, 4, batch_first=True)
            self.unused = torch.nn.Linear(3, 4)
            self.unused.weight.data *= 0

        def forward(self, ids, scale=1.0):
            return {"logits": self.cells(self.words(ids))[0] * scale}

    model, ids = Tagger(), torch.tensor([[1, 2, 2], [4, 1, 7]])
    by_kind = [gradient_moments(model, [batch]) for batch in (ids, (ids, 1.0), {"ids": ids})]
    for found in by_kind:
        assert {"words.weight", "cells.weight_hh_l0", "cells.bias_ih_l0"} < found.keys()
        assert "unused.weight" not in found
        assert np.array_equal(found["words.weight"].columns, by_kind[0]["words.weight"].columns)
    words = by_kind[0]["words.weight"]
    assert np.flatnonzero(words.uses).tolist() == [1, 2, 4, 7]
    assert np.array_equal(words.rows > 0, words.uses > 0)
    scalings = calibrated_scalings(model, [ids])
    assert scalings.keys() == dict(model.named_parameters()).keys()
    assert all(np.isfinite(each.rows).all() for each in scalings.values())
    assert scalings["words.weight"].feedback.rows is None
    steps = scalings["words.weight"].rows
    assert steps[1] < steps[3] < steps[4000]  # used, near used ones, far from them


def test_a_pass_for_each_group_gives_the_same(network, monkeypatch):
    batches = [torch.randn(3, 4), torch.randn(2, 4)]
    told = []
    whole = calibrated_scalings(network, batches, progress=lambda *at: told.append(at))
    assert told == [(0, 2, "gradients"), (1, 2, "gradients")]
    monkeypatch.setattr("kolmo.lossy.calibrating._TOGETHER", 1)
    parts = calibrated_scalings(network, batches)
    for name, own in whole.items():
        assert np.allclose(own.rows, parts[name].rows)


@pytest.mark.parametrize(
    ("batches", "outputs", "message"),
    [
        ([], None, "no batch"),
        ([torch.zeros(1, 4)], lambda model, batch: batch, "depend on no parameter"),
        ([torch.zeros(1, 4)], None, "not a tensor"),
    ],
)
def test_what_cannot_be_learned_from(network, batches, outputs, message):
    if message == "not a tensor":
        network.forward = lambda batch: "words"
    with pytest.raises(InputError, match=message):
        gradient_moments(network, batches, outputs=outputs)
    with pytest.raises(InputError, match="torch module"):
        calibrated_scalings({}, batches)


def test_a_sensitivity_tells_the_change_of_the_outputs():
    """Of one linear layer exactly, whatever the inputs."""
    torch.manual_seed(1)
    inputs = torch.randn(200, 6) @ torch.randn(6, 6)
    layer = torch.nn.Linear(6, 4, bias=False)
    moments = gradient_moments(layer, [inputs], probes=400)
    own = Sensitivity.of(moments["weight"])
    error = 0.01 * np.random.default_rng(0).normal(size=(4, 6))
    expected = np.square(inputs.numpy() @ error.T).sum(axis=1).mean()
    assert np.isclose(np.trace(own.rows @ error @ own.columns @ error.T), expected, rtol=0.05)
