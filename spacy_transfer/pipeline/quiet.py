"""Work beside a training, after which it goes on as if nothing had been."""

import contextlib
import random
from collections.abc import Iterator

import numpy
from spacy.language import Language


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


def copy_of(nlp: Language) -> Language:
    """A pipeline of its own with the same weights, of which nothing comes back. It draws random numbers: see
    `same_random_state`.

    nlp (Language): The pipeline.
    RETURNS (Language): The copy.
    """
    return type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
