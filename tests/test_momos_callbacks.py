"""Projection as an optimizer's hook, against the same loop written out."""

from __future__ import annotations

import pytest
import torch

from kolmo.errors import InputError
from momos.config import SampledMosaic
from momos.lab.models import MLP
from momos.sampled.projection import MoMos
from momos.trainers.callbacks import ProjectEvery


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(2, 6)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(("every", "projections"), [(1, 5), (2, 3), (5, 1), (7, 1)])
def test_the_hook_is_the_loop_written_out(every, projections):
    hooked, plain = MLP([6, 8, 3]), MLP([6, 8, 3])
    optimizer = torch.optim.AdamW(hooked.parameters())
    with ProjectEvery(optimizer, MoMos(hooked, SampledMosaic(motifs=4)), every) as projection:
        for _ in range(5):
            step(hooked, optimizer)
    assert projection.steps == 5

    optimizer = torch.optim.AdamW(plain.parameters())
    projector, done = MoMos(plain, SampledMosaic(motifs=4)), 0
    for number in range(1, 6):
        step(plain, optimizer)
        if number % every == 0 or number == 5:
            projector.project()
            done += 1
    assert done == projections
    for a, b in zip(hooked.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_after_the_end_or_an_error_steps_are_dense_again():
    model = MLP([6, 8, 3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    projector = MoMos(model, SampledMosaic(motifs=4))
    projection = ProjectEvery(optimizer, projector)

    def fail():
        with projection:
            step(model, optimizer)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert projection.steps == 1
    step(model, optimizer)
    assert projection.steps == 1
    with pytest.raises(InputError, match="changed since"):
        projector.mosaic()


def test_every_is_at_least_one():
    model = MLP([6, 3])
    optimizer = torch.optim.SGD(model.parameters())
    with pytest.raises(InputError, match="not 0"):
        ProjectEvery(optimizer, MoMos(model), every=0)
