"""Random generators, as if nothing had been drawn."""

import contextlib
import random
from collections.abc import Iterator

import numpy


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Give the random generators of Python, NumPy and torch (GPUs included) back their state."""
    import torch

    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
