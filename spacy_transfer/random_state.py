"""A context that restores the state of all random generators."""

import contextlib
import random
from collections.abc import Iterator

import numpy
from thinc.compat import has_cupy_gpu


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the random generators of Python, NumPy, CuPy and torch (GPUs included) at the end."""
    import torch

    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    cupy_state = None
    if has_cupy_gpu:
        import cupy

        # CuPy's generators cannot be read: another one is used in the meantime.
        cupy_state = cupy.random.get_random_state()
        cupy.random.set_random_state(cupy.random.RandomState(0))
    try:
        yield
    finally:
        if cupy_state is not None:
            cupy.random.set_random_state(cupy_state)
        random.setstate(states[0])
        numpy.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
