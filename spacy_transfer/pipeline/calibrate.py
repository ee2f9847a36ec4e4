"""Calibration of a whole pipeline: a temperature for each head, and thresholds, fitted on texts not trained on.

A component joins with `model.attrs["temperature"]`, which predicting divides logits by and training leaves out, with
`decisions(examples)`, which gives what `heads.calibration` works on, and with `fit_thresholds(decisions)`.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.training import Example
from spacy.util import logger

from ..errors import Errors, Warnings
from ..heads.calibration import HIGHEST, LOWEST, error_of, fit_temperature, mean_nll
from ..random_state import same_random_state
from .quiet import copy_of


@dataclass
class Calibrated:
    """What was done to a component.

    name (str): Of the component.
    n_decisions (int): How many decisions it was fitted to.
    temperature (float): The temperature it has now.
    nll (Tuple[float, float]): Negative log-likelihood per decision, before and after.
    ece (Tuple[float, float]): Expected calibration error, before and after.
    thresholds (Optional[Dict[str, float]]): Those that were fitted; None where there were none to fit.
    """

    name: str
    n_decisions: int
    temperature: float
    nll: tuple[float, float]
    ece: tuple[float, float]
    thresholds: dict[str, float] | None


Callback = Callable[[Language], Language]


def create_calibrate_v1(
    *,
    components: list[str] | None = None,
    corpus: str | None = None,
    max_docs: int | None = 2000,
    per_label_thresholds: bool = False,
    then: Callable[[Language], Language] | None = None,
) -> Callable[[Language], Language]:
    """For `[training.before_to_disk]`: what is saved is calibrated on the dev corpus; training goes on with what it
    had. This costs one prediction over the corpus at each save.

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
            error = f"calibration error {each.ece[0]:.3f} -> {each.ece[1]:.3f}"
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
    RETURNS (List[Calibrated]): What was done, in the order of the pipeline.
    RAISES (ValueError): When a component is named that cannot be calibrated, or has no gold labels; or its
            scores are not finite.
    """
    parts = _decisions(nlp, examples, _wanted(nlp, components))
    for name, found in parts.items():
        if not sum(map(len, found)):
            if components is not None:
                raise ValueError(Errors.T744.format(name=name, count=len(examples)))
            warnings.warn(Warnings.W351.format(name=name, count=len(examples)), stacklevel=2)
    return [_fit(nlp.get_pipe(name), parts[name], per_label_thresholds) for name in parts if sum(map(len, parts[name]))]


def can_be_calibrated(pipe: Any) -> bool:
    """RETURNS (bool): Whether a component has a temperature."""
    return hasattr(pipe, "decisions") and "temperature" in pipe.model.attrs


def _wanted(nlp: Language, components: Sequence[str] | None) -> list[str]:
    can = [name for name, pipe in nlp.pipeline if can_be_calibrated(pipe)]
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


def _decisions(nlp: Language, examples: Sequence[Example], wanted: Sequence[str]) -> dict[str, list[Any]]:
    """Batch by batch through the pipeline; each wanted component is asked on the rows that stand before it."""
    found: dict[str, list[Any]] = {name: [] for name in wanted}
    for batch in util.minibatch(examples, size=nlp.batch_size):
        docs = [example.predicted for example in batch]
        pipes: list[tuple[str, Any]] = nlp.pipeline
        for name, pipe in pipes:
            if name in found:
                pairs = zip(docs, batch, strict=True)
                found[name].append(pipe.decisions([Example(doc, example.reference) for doc, example in pairs]))
                if name == wanted[-1]:
                    break
            docs = list(pipe.pipe(docs, batch_size=len(docs))) if hasattr(pipe, "pipe") else [pipe(doc) for doc in docs]
    return found


def _fit(pipe: Any, parts: list[Any], per_label_thresholds: bool) -> Calibrated:
    attrs = pipe.model.attrs
    before, count = attrs["temperature"], sum(map(len, parts))
    if not math.isfinite(mean_nll(parts, 1.0)):
        raise ValueError(Errors.T355.format(name=pipe.name, count=count))
    best = fit_temperature(parts)
    # The search may stop in another valley than that of before; what is chosen is never worse.
    tried = [1.0, before] if best is None else [best, before]
    after = min(tried, key=lambda temperature: mean_nll(parts, temperature))
    if best is None:
        shown = Warnings.W350.format(name=pipe.name, count=count, low=LOWEST, high=HIGHEST, found=after)
        warnings.warn(shown, stacklevel=3)
    both = before, after
    attrs["temperature"] = after
    nll = mean_nll(parts, before), mean_nll(parts, after)
    ece = error_of(parts, both[0]), error_of(parts, both[1])
    thresholds = pipe.fit_thresholds(parts) if per_label_thresholds else None
    return Calibrated(pipe.name, count, both[1], nll, ece, thresholds)  # type: ignore[arg-type]


def corpus_of(nlp: Language, name: str | None, key: str = "training.before_to_disk.corpus") -> Iterable[Example]:
    """A corpus of a pipeline's config.

    nlp (Language): The pipeline.
    name (Optional[str]): Its dotted name; None for what [training] dev_corpus says.
    key (str): Where it was named, for the message.
    RETURNS (Iterable[Example]): What its reader gives.
    RAISES (ValueError): When there is no such corpus, or it cannot be read.
    """
    config = nlp.config.interpolate()
    name = config["training"]["dev_corpus"] if name is None else name
    # spaCy's own resolve_dot_names would open all corpora, those without a path too.
    block: Any = config
    try:
        for part in name.split("."):
            block = block[part]
        corpus = util.registry.resolve({"corpus": block})["corpus"]
    except KeyError as error:
        raise ValueError(Errors.T745.format(key=key, name=name, error=f"{error} is missing")) from error
    except (TypeError, ValueError) as error:
        raise ValueError(Errors.T745.format(key=key, name=name, error=error)) from error
    if not callable(corpus):
        raise ValueError(Errors.T745.format(key=key, name=name, error=f"it is {corpus!r}"))
    return corpus(nlp)
