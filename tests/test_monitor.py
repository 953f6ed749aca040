"""Monitors: figures as kolmo's own, at a bounded cost, and a training that is untouched."""

import dataclasses
import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import kolmo
from kolmo.callbacks import Monitor, Reading
from kolmo.callbacks.cadence import Cadence
from kolmo.callbacks.lengths import FEW, sequential_p
from kolmo.callbacks.windows import windows_of
from kolmo.errors import InputError

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
Y = X[:, :4].argmax(dim=1)


def net(*sides, seed=0):
    """A perceptron with weights of its own."""
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sides)]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in nn.Sequential(*layers).parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def striped(rows=40, columns=30):
    """A network whose weights repeat from row to row."""
    model = net(columns, rows)
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[:4].repeat(rows // 4, 1))
    return model


# --- windows --------------------------------------------------------------------------------

SHAPES = st.dictionaries(
    st.text("abc.", min_size=1, max_size=4),
    st.lists(st.integers(1, 90), min_size=1, max_size=3).map(tuple),
    min_size=1,
    max_size=5,
)


@given(SHAPES, st.integers(1, 20_000), st.integers(0, 9))
def test_windows_lie_in_their_tensors_and_never_overlap(shapes, weights, seed):
    found = windows_of(shapes, weights, seed)
    assert found == windows_of(shapes, weights, seed)
    assert len({window.name for window in found}) == len(found)
    seen = {name: np.zeros(shape, int) for name, shape in shapes.items()}
    for window in found:
        part = seen[window.tensor]
        if window.rows is not None:
            rows = part[slice(*window.rows)] if part.ndim > 1 else part.reshape(1, -1)
            part = rows.reshape(len(rows), -1)[:, slice(*window.columns)]
        assert part.size
        part += 1
    taken = sum(int(part.sum()) for part in seen.values())
    assert max(int(part.max()) for part in seen.values()) == 1
    total = sum(part.size for part in seen.values())
    assert taken == total if total <= weights else 0 < taken <= max(weights, 1024)


def test_a_small_network_is_watched_whole_and_a_large_one_in_windows():
    small = Monitor(net(12, 24, 4)).windows()
    assert {name: t.shape for name, t in small.items()} == {
        name: tuple(p.shape) for name, p in net(12, 24, 4).named_parameters()
    }
    model = net(200, 300, 10)
    large = Monitor(model, weights=4096).windows()
    assert len(large) == 4
    for name, tensor in large.items():
        of, _, place = name.partition("[")
        rows, columns = (
            slice(*map(int, side.split(":"))) for side in place.rstrip("]").split(", ")
        )
        expected = model.get_parameter(of).detach()[rows, columns].numpy()
        assert np.array_equal(tensor.read(), expected)


def test_windows_are_copies_of_weights_in_any_dress():
    model = net(40, 40).to(torch.bfloat16)
    model[0].weight.requires_grad_(False)
    wrapped = torch.compile(nn.Sequential(model), backend="eager")
    plain, other = Monitor(nn.Sequential(model)).windows(), Monitor(wrapped).windows()
    assert list(plain) == list(other) == ["0.0.weight", "0.0.bias"]
    before = plain["0.0.weight"].read().copy()
    assert before.dtype.name == "bfloat16"
    with torch.no_grad():
        model[0].weight.zero_()
    assert np.array_equal(plain["0.0.weight"].read(), before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"w": X}, "watches an nn.Module, and not a dict"),
        (nn.ReLU(), "ReLU: there is no weight in this process"),
        (nn.Linear(3, 2, device="meta"), "Linear: there is no weight in this process"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_the_training(model, message):
    with pytest.raises(InputError, match=message):
        Monitor(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every"),
        ({"weights": 0}, "weights"),
        ({"draws": -1}, "draws"),
        ({"share": 0.0}, "share of the time"),
        ({"share": 2.0}, "share of the time"),
        ({"estimator": "cntext"}, "did you mean context"),
        ({"log": 3}, "cannot log to a int"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Monitor(net(3, 2), **options)


# --- figures --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [striped(), net(40, 40).to(torch.bfloat16)], ids=["f4", "bf16"])
@pytest.mark.parametrize("quantizer", ["native", "symmetric:4"])
def test_figures_are_those_of_analyze(model, quantizer):
    monitor = Monitor(model, quantizer=quantizer, draws=10, seed=3)
    reading = monitor.read(7)
    row = kolmo.analyze(
        monitor.windows(), quantizers=quantizer, estimators="context", nulls="shuffled",
        draws=reading.draws, scope="model", seed=3, store=None,
    ).table.iloc[0]  # fmt: skip
    assert (reading.step, reading.weights, reading.kind) == (7, row.numel, row.kind)
    assert reading.bits_per_weight == row.bits_per_weight
    assert reading.share_of_shuffle == pytest.approx(row.bits / row.null_bits, rel=1e-12)
    assert reading.spread == pytest.approx(row.bits * row.null_sd / row.null_bits**2, rel=1e-9)
    assert reading.figures["kolmo/bits_per_weight"] == reading.bits_per_weight
    assert reading.figures["kolmo/share_of_shuffle"] == reading.share_of_shuffle


def test_structure_is_found_where_it_is_and_draws_end_early_where_it_is_not():
    found, none = Monitor(striped()).read(0), Monitor(net(40, 40)).read(0)
    assert (found.verdict, found.p, found.draws) == ("structure", 0.05, 39)
    assert (found.figures["kolmo/verdict"], none.figures["kolmo/verdict"]) == (1.0, 0.0)
    assert found.share_of_shuffle < 0.9
    assert none.verdict == "none"
    assert FEW <= none.draws < 39
    assert none.p > 0.05
    assert "structure beyond the value distribution (p = .05, 39 shuffles)" in str(found)
    assert str(found).startswith(f"step 0: at most {found.bits_per_weight:.4g} bits per weight (")


def test_fewer_draws_decide_nothing_and_none_test_nothing():
    few, none = Monitor(striped(), draws=9).read(0), Monitor(striped(), draws=0).read(0)
    assert (few.verdict, few.p, few.draws) == ("undecided", 0.2, 9)
    assert "kolmo/verdict" not in few.figures
    assert (none.verdict, none.draws, none.note) == ("no test", 0, "no shuffle was drawn")
    assert list(none.figures) == ["kolmo/bits_per_weight"]


def test_what_no_order_moves_is_no_test():
    reading = Monitor(striped(), estimator="kt").read(0)
    assert reading.draws == 0
    assert reading.text == "no test: kt only counts, in whatever order"
    constant = net(9, 9)
    with torch.no_grad():
        for parameter in constant.parameters():
            parameter.fill_(0.5)
    assert Monitor(constant).read(0).text == "no test: all shuffles cost what the weights do"


def test_weights_that_diverge_have_no_figure_and_stop_nothing():
    model = net(12, 4)
    monitor = Monitor(model, share=None)
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    reading = monitor.step(5)
    assert reading.figures == {}
    assert "holds NaN" in reading.text
    assert str(reading).startswith("step 5: no test: tensor '0.weight' holds NaN")


def test_the_sequential_p_value_is_valid():
    """Over all orders of distinct figures P(p ≤ α) is α / 2, as few bits alone count."""
    orders = list(itertools.permutations(range(7)))
    found = [sequential_p(actual, draws) for actual, *draws in orders]
    for alpha in sorted(set(found)):
        share = sum(p <= alpha for p in found) / len(found)
        assert share <= alpha
        assert alpha == 1 or share == pytest.approx(alpha / 2)


# --- cadence --------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


STEPS = st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=60)


@given(STEPS, st.lists(st.floats(0.01, 1.0), min_size=60, max_size=60),
       st.sampled_from([0.01, 0.1, 0.5]))  # fmt: skip
def test_readings_never_take_more_than_their_share(steps, costs, share):
    """As long as none takes longer than the forerunner foresaw: here one second at most."""
    clock = Clock()
    cadence, readings = Cadence(share, clock), 0
    for seconds, cost in zip(steps, costs, strict=False):
        if cadence.may_begin():
            with cadence.reading():
                clock.now += cost
            cadence.expected = 1.0
            readings += 1
            if readings > 1:
                assert cadence.cost_share <= share * (1 + 1e-9)
        clock.now += seconds
    assert readings


def test_a_long_reading_is_made_up_for():
    clock = Clock()
    cadence = Cadence(0.1, clock)
    with cadence.reading():
        clock.now += 1
    cadence.expected = 1.0
    clock.now += 18.9
    assert not cadence.may_begin()
    clock.now += 0.2
    assert cadence.may_begin()
    with cadence.reading():
        clock.now += 10  # the machine was busy
    assert cadence.cost_share > 0.1
    clock.now += 88
    assert not cadence.may_begin()
    clock.now += 3
    assert cadence.may_begin()
    assert Cadence(None, clock).may_begin()


def test_steps_are_counted_or_told_and_each_is_read_once():
    counted = Monitor(net(6, 4), every=3, share=None, draws=0)
    for _ in range(7):
        counted.step()
    assert [reading.step for reading in counted.history] == [0, 3, 6]
    told = Monitor(net(6, 4), every=2, share=None, draws=0)
    for number in (0, 0, 1, 2, 2, 2, 3, 4):  # gradients are accumulated
        told.step(number)
    assert [reading.step for reading in told.history] == [0, 2, 4]
    assert told.table.step.tolist() == [0, 2, 4]
    assert list(told.table) == [field.name for field in dataclasses.fields(Reading)]


def test_a_short_training_is_read_once_by_default():
    monitor = Monitor(net(6, 4))
    for number in range(20):
        monitor.step(number)
    assert [reading.step for reading in monitor.history] == [0]
    assert 0 < monitor.cost_share <= 1


# --- training -------------------------------------------------------------------------------


def train(model, monitor=None, steps=12):
    """A loop with everything random that there is; what it ends with."""
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002 - the global generator, which nothing here may touch
    random.seed(3)
    model = nn.Sequential(model, nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for number in range(steps):
        rows = torch.randperm(len(X))[:16]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            nn.functional.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()
        if monitor:
            monitor.step(number)
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    return [p.detach().clone() for p in model.parameters()], optimizer.state_dict(), states


def test_a_training_is_the_same_with_and_without():
    watched = net(12, 40, 4)
    monitor = Monitor(watched, share=None, every=2, draws=1)
    with_it, without = train(watched, monitor), train(net(12, 40, 4))
    assert len(monitor.history) == 6
    assert all(map(torch.equal, with_it[0], without[0]))
    assert torch.equal(with_it[2][0], without[2][0])
    assert np.array_equal(with_it[2][1], without[2][1])
    assert with_it[2][2] == without[2][2]
    assert all(p.grad is not None for p in watched.parameters())


def test_equal_weights_have_equal_readings():
    one, other = (Monitor(net(12, 40, 4), share=None, every=5, draws=2) for _ in range(2))
    for monitor in (one, other):
        train(monitor._model, monitor)
    assert one.history == other.history
    assert len({reading.share_of_shuffle for reading in one.history}) == len(one.history)


# --- loggers --------------------------------------------------------------------------------


class Writer:
    """The interface of TensorBoard's SummaryWriter."""

    def __init__(self):
        self.told = []

    def add_scalar(self, tag, value, global_step):
        self.told.append((tag, value, global_step))

    def add_text(self, tag, text, global_step):
        self.told.append((tag, text, global_step))


class Wandb:
    """The interface of a run of Weights & Biases."""

    def __init__(self):
        self.axes, self.told = {}, []

    def define_metric(self, name, step_metric=None):
        self.axes[name] = step_metric

    def log(self, data):
        self.told.append(data)


class Mlflow:
    """The interface of mlflow's module."""

    def __init__(self):
        self.told, self.tags = [], {}

    def log_metrics(self, metrics, step=None):
        self.told.append((metrics, step))

    def set_tag(self, key, value):
        self.tags[key] = value


def test_each_logger_is_told_by_its_own_interface(capsys):
    writer, wandb, mlflow, kept = Writer(), Wandb(), Mlflow(), []
    log = [print, writer, wandb, mlflow, kept.append, None]
    monitor = Monitor(striped(), share=None, log=log)
    reading = monitor.step(4)
    assert capsys.readouterr().out == f"{reading}\n"
    assert kept == monitor.history == [reading]
    text = ("kolmo/verdict_text", reading.text, 4)
    assert writer.told == [*((n, v, 4) for n, v in reading.figures.items()), text]
    assert wandb.axes == {"kolmo/step": None, "kolmo/*": "kolmo/step"}
    assert wandb.told == [{**reading.figures, "kolmo/verdict_text": reading.text, "kolmo/step": 4}]
    assert mlflow.told == [(reading.figures, 4)]
    assert mlflow.tags == {"kolmo/verdict_text": reading.text}


def test_the_package_loads_no_framework():
    code = (
        "import sys, kolmo.callbacks; kolmo.callbacks.Monitor; "
        "print([m for m in ('torch', 'lightning', 'transformers', 'pandas', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
