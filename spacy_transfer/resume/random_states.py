"""The states of all random generators as arrays, which need no pickle."""

import random
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import numpy
from numpy.typing import NDArray
from thinc.compat import has_cupy_gpu

Arrays: TypeAlias = dict[str, NDArray[Any]]


def take(seed: int) -> Arrays:
    """The states of Python, NumPy and torch, GPUs included.

    seed (int): CuPy's generator cannot be read. It is seeded with this number instead, now and in `give`.
    RETURNS (Dict[str, NDArray]): The states.
    """
    states = pack(*of_python_and_numpy())
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_available():
            states |= {f"cuda.{i}": state.numpy() for i, state in enumerate(torch.cuda.get_rng_state_all())}
    _seed_cupy(seed)
    return states


def give(states: Mapping[str, NDArray[Any]], seed: int) -> None:
    """Set the generators to these states."""
    python, numpys = unpack(states)
    random.setstate(python)
    numpy.random.set_state(cast(Any, numpys))  # noqa: NPY002
    if "torch" in states:
        import torch

        torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
        for i in range(sum(name.startswith("cuda.") for name in states) if torch.cuda.is_available() else 0):
            torch.cuda.set_rng_state(torch.from_numpy(states[f"cuda.{i}"].copy()), i)
    _seed_cupy(seed)


def of_python_and_numpy() -> tuple[Any, Any]:
    """RETURNS (Tuple[Any, Any]): The states of Python's and NumPy's own generators, as they give them."""
    return random.getstate(), numpy.random.get_state()  # noqa: NPY002


def are_equal(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    """RETURNS (bool): Whether both generators are in the same states."""
    (_, keys, *rest), (_, others, *other_rest) = first[1], second[1]
    return first[0] == second[0] and rest == other_rest and bool((keys == others).all())


def pack(python: Any, numpys: Any) -> Arrays:
    """RETURNS (Dict[str, NDArray]): What `of_python_and_numpy` gives, as arrays."""
    version, numbers, gauss = python
    _, keys, *rest = numpys
    return {
        "python": numpy.array([version, *numbers], dtype="uint32"),
        "gauss": numpy.array([float(gauss is not None), gauss or 0.0], dtype="float64"),
        "numpy": keys.astype("uint32"),
        "numpy_rest": numpy.array(rest, dtype="float64"),
    }


def unpack(states: Mapping[str, NDArray[Any]]) -> tuple[Any, Any]:
    """RETURNS (Tuple[Any, Any]): What `pack` was given."""
    version, *numbers = states["python"].tolist()
    has_gauss, gauss = states["gauss"].tolist()
    place, has_normal, normal = states["numpy_rest"].tolist()
    python = (version, tuple(numbers), gauss if has_gauss else None)
    return python, ("MT19937", states["numpy"], int(place), int(has_normal), normal)


def _seed_cupy(seed: int) -> None:
    if has_cupy_gpu:
        import cupy

        cupy.random.seed(seed)
