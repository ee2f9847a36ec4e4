"""Gold categories of docs: checks, and the other components that have categories."""

import math
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import lru_cache
from numbers import Real
from typing import NoReturn, cast

import numpy
from spacy.attrs import ORTH, SPACY
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import logger

from ...errors import Errors, Warnings
from ...types import Pipe
from .regressor import TransferRegressor

Cats = dict[str, float]
"""`doc.cats`, or a part of it."""
_Said = tuple[int, int]
"""Labels that hold, and that do not: a bit for each."""


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


class SeenTexts:
    """What the training texts say of labels. Of each text its hash is kept, and one number for each way to label.

    name (str): Of the component.
    exclusive (bool): Whether the labels exclude each other.
    """

    def __init__(self, name: str, exclusive: bool) -> None:
        self._name, self._exclusive = name, exclusive
        self._bits: dict[str, int] = {}
        self._seen: dict[int, _Said] = {}
        self._shared: dict[_Said, _Said] = {}
        self._found: dict[int, dict[str, str]] = {}
        self._holding = 0
        self._read = lru_cache(1024)(self._said)  # Most texts are labelled like many others.

    @property
    def with_example(self) -> set[str]:
        """RETURNS (Set[str]): Labels that hold for a text."""
        return {label for label, bit in self._bits.items() if bit & self._holding}

    @property
    def count(self) -> int:
        """RETURNS (int): Texts whose labels contradict each other."""
        return len(self._found)

    def add(self, doc: Doc, cats: Cats) -> None:
        """Take note of one text. Labels that it lacks say nothing."""
        holds, lacks = self._read(tuple(cats), tuple(cats.values()))
        if not holds and (self._exclusive or not lacks):
            return
        key = hash(doc.to_array([ORTH, SPACY]).tobytes())  # Four times as fast as the text.
        old_holds, old_lacks = self._seen.get(key, (0, 0))
        clash = holds & old_lacks | old_holds & lacks
        if clash:
            facts = {"text": doc.text[:60], "label": self._label(clash)}
            facts |= {"one": self._label(old_holds), "other": self._label(holds)} if self._exclusive else {}
            self._found.setdefault(key, facts)
        said = holds | old_holds, lacks | old_lacks
        self._seen[key] = self._shared.setdefault(said, said)

    def _said(self, labels: tuple[str, ...], values: tuple[float, ...]) -> _Said:
        holds = lacks = 0
        for label, value in zip(labels, values, strict=True):
            bit = self._bits.setdefault(label, 1 << len(self._bits))
            if value > 0.5:
                holds |= bit
            elif value < 0.5:
                lacks |= bit
        self._holding |= holds
        return holds, ~holds if self._exclusive else lacks

    def _label(self, bits: int) -> str:
        return next(label for label, bit in self._bits.items() if bits & bit)

    def warn(self) -> None:
        """Say how many texts contradict themselves, with the first."""
        for facts in list(self._found.values())[:1]:
            message = Warnings.W926 if self._exclusive else Warnings.W927
            logger.warning(message.format(name=self._name, count=self.count, **facts))

    def warn_of_label_texts(self, labels: Sequence[str], described: Collection[str]) -> None:
        """Say which labels have no example.

        described (Collection[str]): Labels with label texts.
        """
        without = [label for label in labels if label not in self.with_example]
        if zero_shot := [label for label in without if label in described]:
            logger.warning(Warnings.W928.format(name=self._name, count=len(zero_shot), labels=zero_shot))
        if nothing := [label for label in without if label not in described]:
            logger.warning(Warnings.W920.format(name=self._name, labels=nothing))
