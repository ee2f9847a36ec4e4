"""Random numbers of readers are drawn again as in a training that drew others in between.

Guards also: random_states.py.
"""

import random

import numpy

from spacy_transfer.resume.draws import Draws
from spacy_transfer.resume.random_states import give, take


def draw_batches(draws, n, train):
    """What a reader and a batcher would draw: nothing, Python's numbers, or NumPy's. RETURNS (List[float]): These."""
    found = []
    for i in range(n):
        draws.begin()
        if i % 3 == 1:
            found.append(random.random())
        if i % 5 == 2:
            found += [random.gauss(0, 1), numpy.random.normal()]  # noqa: NPY002
        draws.end()
        train(i)
    return found


def train(i):
    random.random()
    if i % 4:
        numpy.random.rand(3)  # noqa: NPY002


def test_a_replay_draws_the_same():
    random.seed(1)
    numpy.random.seed(1)  # noqa: NPY002
    live = Draws()
    drawn = draw_batches(live, 20, train)
    random.seed(1)
    numpy.random.seed(1)  # noqa: NPY002
    again = Draws()
    again.replay(live.to_arrays())
    assert draw_batches(again, 20, lambda i: None) == drawn
    assert len(live.states) < 12, "drawings without random numbers need no states"


def test_a_shuffle_at_the_end_of_an_epoch_needs_no_states_if_nothing_else_draws():
    random.seed(1)
    draws = Draws()
    draw_batches(draws, 20, lambda i: None)
    assert draws.to_arrays() == {}


def test_states_are_set_again():
    import torch

    numpy.random.normal()  # noqa: NPY002
    random.gauss(0, 1)
    states = take(0)
    drawn = [(random.gauss(0, 1), numpy.random.normal(), torch.rand(1)) for _ in range(2)]  # noqa: NPY002
    give(states, 0)
    assert [(random.gauss(0, 1), numpy.random.normal(), torch.rand(1)) for _ in range(2)] == drawn  # noqa: NPY002
