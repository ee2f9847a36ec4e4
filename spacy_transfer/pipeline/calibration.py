"""Calibration of a whole pipeline: a temperature for each head, and thresholds, fitted on texts not trained on.

A component that can be calibrated is a `Calibratable`, and its head has `TemperatureAttrs`.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from itertools import islice
from operator import getitem
from typing import Protocol, TypeGuard

from spacy import util
from spacy.language import Language
from spacy.training import Example
from spacy.util import logger
from thinc.api import Model

from ..errors import Errors, Warnings
from ..heads.calibration import HIGHEST, LOWEST, Decisions, error_of, fit_temperature, mean_nll
from ..heads.layers import TemperatureAttrs
from ..progress import progress
from ..random_state import same_random_state
from .pipeline_copy import copy_of

Callback = Callable[[Language], Language]


class Calibratable(Protocol):
    """A component with a temperature."""

    name: str
    model: Model

    def decisions(self, examples: Iterable[Example]) -> Decisions:
        """RETURNS (Decisions): The decisions about texts, which have rows on their predicted docs. Texts that only
        train others are left out."""

    def fit_thresholds(self, parts: list[Decisions]) -> dict[str, float] | None:
        """RETURNS (Optional[Dict[str, float]]): Thresholds, fitted on texts that were not trained on; None where there
        are none to fit."""


@dataclass
class Calibrated:
    """The calibration of a component.

    name (str): Of the component.
    n_decisions (int): How many decisions it was fitted to.
    temperature (float): The temperature it has now.
    nll (Tuple[float, float]): Negative log-likelihood per decision, before and after.
    ece (Tuple[Optional[float], Optional[float]]): Expected calibration error, before and after.
    thresholds (Optional[Dict[str, float]]): Those that were fitted; None where there were none to fit.
    """

    name: str
    n_decisions: int
    temperature: float
    nll: tuple[float, float]
    ece: tuple[float | None, float | None]
    thresholds: dict[str, float] | None


def create_calibrate_v1(
    *,
    components: list[str] | None = None,
    corpus: str | None = None,
    max_docs: int | None = 2000,
    per_label_thresholds: bool = False,
    then: Callback | None = None,
) -> Callback:
    """For `[training.before_to_disk]`: the saved copy is calibrated on the dev corpus; the pipeline in training stays
    as it is. This costs one prediction over the corpus at each save.

    components (Optional[List[str]]): Which; null for all that can be calibrated and have gold labels there.
    corpus (Optional[str]): Dotted name of the corpus to fit on; null for what [training] dev_corpus says.
    max_docs (Optional[int]): Fit on so many of its first docs; null for all.
    per_label_thresholds (bool): Fit a threshold for each label too, where labels do not exclude each other.
    then (Optional[Callable[[Language], Language]]): A further callback, such as `spacy-transfer.MergeAdapters.v1`; it
        gets the calibrated copy.
    RETURNS (Callable[[Language], Language]): Gives a calibrated copy of a pipeline.
    """
    if max_docs is not None and max_docs < 1:
        raise ValueError(Errors.T746.format(found=max_docs))

    def calibrate_v1(nlp: Language) -> Language:
        with same_random_state():
            copy = copy_of(nlp)
            _wanted(copy, components)
            examples = islice(corpus_of(copy, corpus), max_docs)
            done = calibrate(copy, list(examples), components=components, per_label_thresholds=per_label_thresholds)
        for each in done:
            error = "calibration error " + " -> ".join("none" if e is None else f"{e:.3f}" for e in each.ece)
            logger.info("%s: temperature %.3f, %s", each.name, each.temperature, error)
        return copy if then is None else then(copy)

    return calibrate_v1


def calibrate(
    nlp: Language,
    examples: Sequence[Example],
    *,
    components: Sequence[str] | None = None,
    per_label_thresholds: bool = False,
) -> list[Calibrated]:
    """Calibrate a pipeline in place: one prediction over the examples, then one number for each component.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Texts that were not trained on, with gold labels. Their predicted docs are annotated.
    components (Optional[Sequence[str]]): Which; None for all that can be calibrated and have gold labels there.
    per_label_thresholds (bool): Fit a threshold for each label too, where labels do not exclude each other.
    RETURNS (List[Calibrated]): One for each component, in the order of the pipeline.
    RAISES (ValueError): When a component is named that cannot be calibrated, or has no gold labels; or its
            scores are not finite.
    """
    parts = _decisions(nlp, examples, _wanted(nlp, components))
    for name, found in parts.items():
        if not sum(map(len, found)):
            if components is not None:
                raise ValueError(Errors.T744.format(name=name, count=len(examples)))
            warnings.warn(Warnings.W351.format(name=name, count=len(examples)), stacklevel=2)
    pipes = dict(_calibratable(nlp))
    return [_fit(pipes[name], parts[name], per_label_thresholds) for name in parts if sum(map(len, parts[name]))]


def can_be_calibrated(pipe: object) -> TypeGuard[Calibratable]:
    """RETURNS (bool): Whether a component has a temperature."""
    return hasattr(pipe, "decisions") and hasattr(pipe, "model") and TemperatureAttrs.fits(pipe.model)


def _calibratable(nlp: Language) -> list[tuple[str, Calibratable]]:
    return [(name, pipe) for name, pipe in nlp.pipeline if can_be_calibrated(pipe)]


def _wanted(nlp: Language, components: Sequence[str] | None) -> list[str]:
    can = [name for name, _ in _calibratable(nlp)]
    if components is None:
        if not can:
            raise ValueError(Errors.T743.format(names=nlp.pipe_names))
        return can
    for name in components:
        if name not in nlp.pipe_names:
            near = get_close_matches(name, nlp.pipe_names, n=4, cutoff=0.5) or nlp.pipe_names
            raise ValueError(Errors.T741.format(name=name, near=near))
        if name not in can:
            raise ValueError(Errors.T742.format(name=name, can=can))
    return [name for name in can if name in components]


def _decisions(nlp: Language, examples: Sequence[Example], wanted: Sequence[str]) -> dict[str, list[Decisions]]:
    """Batch by batch through the pipeline; each wanted component decides before it annotates."""
    found: dict[str, list[Decisions]] = {name: [] for name in wanted}
    for batch in util.minibatch(progress(examples, what="Predicting"), size=nlp.batch_size):
        docs = [example.predicted for example in batch]
        for name, pipe in nlp.pipeline:
            if name in found and can_be_calibrated(pipe):
                pairs = zip(docs, batch, strict=True)
                found[name].append(pipe.decisions([Example(doc, example.reference) for doc, example in pairs]))
                if name == wanted[-1]:
                    break
            docs = list(pipe.pipe(docs, batch_size=len(docs))) if hasattr(pipe, "pipe") else [pipe(doc) for doc in docs]
    return found


def _fit(pipe: Calibratable, parts: list[Decisions], per_label_thresholds: bool) -> Calibrated:
    own = TemperatureAttrs.of(pipe.model)
    before, count = own.temperature, sum(map(len, parts))
    if not math.isfinite(mean_nll(parts, 1.0)):
        raise ValueError(Errors.T355.format(name=pipe.name, count=count))
    best = fit_temperature(parts)
    # The search may end in another local minimum; the choice is never worse than the old temperature.
    tried = [1.0, before] if best is None else [best, before]
    after = min(tried, key=lambda temperature: mean_nll(parts, temperature))
    if best is None:
        shown = Warnings.W350.format(name=pipe.name, count=count, low=LOWEST, high=HIGHEST, found=after)
        warnings.warn(shown, stacklevel=3)
    own.temperature = after
    nll = mean_nll(parts, before), mean_nll(parts, after)
    ece = error_of(parts, before), error_of(parts, after)
    thresholds = pipe.fit_thresholds(parts) if per_label_thresholds else None
    return Calibrated(pipe.name, count, after, nll, ece, thresholds)


def corpus_of(nlp: Language, name: str | None, key: str = "training.before_to_disk.corpus") -> Iterable[Example]:
    """A corpus of a pipeline's config.

    name (Optional[str]): Its dotted name; None for what [training] dev_corpus says.
    key (str): Where it was named, for the message.
    RETURNS (Iterable[Example]): What its reader gives.
    RAISES (ValueError): When there is no such corpus, or it cannot be read.
    """
    config = nlp.config.interpolate()
    name = config["training"]["dev_corpus"] if name is None else name
    # spaCy's own resolve_dot_names would open all corpora, those without a path too.
    try:
        block = reduce(getitem, name.split("."), config)
        corpus = util.registry.resolve({"corpus": block})["corpus"]
    except KeyError as error:
        raise ValueError(Errors.T745.format(key=key, name=name, error=f"{error} is missing")) from error
    except (TypeError, ValueError) as error:
        raise ValueError(Errors.T745.format(key=key, name=name, error=error)) from error
    if not callable(corpus):
        raise ValueError(Errors.T745.format(key=key, name=name, error=f"it is {corpus!r}"))
    return corpus(nlp)
