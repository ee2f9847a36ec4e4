"""Random numbers after the context against those that come without it."""

import random

import numpy
import pytest
import torch

from spacy_transfer.random_state import same_random_state

DRAWS = {"python": random.random, "numpy": numpy.random.random, "torch": lambda: float(torch.rand(()))}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("fails", [False, True])
def test_draws_go_on_as_if_nothing_had_been_drawn(name, fails):
    draw = DRAWS[name]
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(3)
    wanted = [draw() for _ in range(3)]
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(3)
    found = [draw()]
    try:
        with same_random_state():
            assert draw() == wanted[1]  # Inside, the generators are not seeded anew.
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [*found, draw(), draw()] == wanted
