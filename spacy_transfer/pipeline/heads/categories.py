"""Gold categories of docs: checks, and the other components that have categories."""

import math
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import NoReturn, cast

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.util import logger

from ...errors import Errors, Warnings
from ...types import Pipe
from .regressor import TransferRegressor

Cats = dict[str, float]
"""`doc.cats`, or a part of it."""


def categories_of(example: Example, labels: Collection[str] | None) -> Cats:
    """RETURNS (Dict[str, float]): The gold categories of some labels, or if that is None, of all."""
    cats: Cats = example.reference.cats
    return cats if labels is None else {label: value for label, value in cats.items() if label in labels}


def check_scored(name: str, example: Example, cats: Cats) -> None:
    """RAISES (ValueError): When a category cannot be scored: its value is of another type, or NaN."""
    _check_types(name, example, cats)
    for label, value in cats.items():
        if math.isnan(value):
            _refuse(Errors.T304, name, example, label=label, found=value)


def check_trained(name: str, example: Example, cats: Cats, exclusive: bool, labels: Sequence[str]) -> None:
    """RAISES (ValueError): When categories are no probabilities, or those of exclusive labels add up to more than 1."""
    _check_types(name, example, cats)
    for label, value in cats.items():
        if not 0.0 <= value <= 1.0:
            _refuse(Errors.T304, name, example, label=label, found=value)
    if not exclusive or not cats:
        return
    two = [label for label, value in cats.items() if value == 1.0]
    if len(two) > 1:
        _refuse(Errors.T305, name, example, labels=two)
    total = sum(cats.values())
    is_soft = any(0.0 < value < 1.0 for value in cats.values())
    if total > 1.001 or (is_soft and total < 0.999 and set(cats) >= set(labels)):
        _refuse(Errors.T306, name, example, total=total)


def _check_types(name: str, example: Example, cats: Cats) -> None:
    if set(map(type, cats.values())) <= {float, int}:
        return  # To ask for `Real` takes twenty times as long.
    for label, value in cats.items():
        if not isinstance(value, Real | numpy.bool_):
            _refuse(Errors.T339, name, example, label=label, found=repr(value))


def _refuse(message: str, name: str, example: Example, **facts: object) -> NoReturn:
    raise ValueError(message.format(name=name, text=example.reference.text[:60], **facts))


def warn_of_unknown(name: str, labels: Sequence[str], others: Sequence[Pipe], examples: Sequence[Example]) -> bool:
    """Warn of the first category that is a label of no component.

    RETURNS (bool): Whether there is one.
    """
    known = {*labels, *(label for other in others for label in other.labels)}
    for example in examples:
        for label in example.reference.cats:
            if label not in known:
                near = get_close_matches(label, labels, n=3, cutoff=0.4) or "none"
                facts = {"label": label, "labels": list(labels), "near": near}
                logger.warning(Warnings.W352.format(name=name, text=example.reference.text[:60], **facts))
                return True
    return False


def other_classifiers(nlp: Language | None, own: object) -> list[Pipe] | None:
    """RETURNS (Optional[List[Pipe]]): The other components of a pipeline that have categories; None where the labels of
    one are not known."""
    if nlp is None:
        return None
    found: list[Pipe] = []
    for name, pipe in nlp.components:
        reads_cats = isinstance(pipe, TransferRegressor) and pipe.targets.source == "cats"
        if pipe is not own and (reads_cats or "doc.cats" in nlp.get_pipe_meta(name).assigns):
            if not hasattr(pipe, "labels"):
                return None
            found.append(cast(Pipe, pipe))
    return found
