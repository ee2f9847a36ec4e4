"""`fit = "maxent"`: the optimum of a classifier's output layer on frozen rows, before training begins."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

import numpy
from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example
from spacy.ty import ListenedToComponent
from spacy.util import logger
from thinc.api import Model
from tqdm import tqdm

from ...errors import Errors
from ...heads.maxent import Evidence, Solution, solve_maxent
from ...types import Floats, GetExamples, Pipe

BATCH = 128
"""Docs whose rows are held at the same time."""
BAR_AFTER = 5.0
"""Seconds after which a progress bar shows."""


class FittedPipe(Protocol):
    """A classifier, as far as this start needs it."""

    name: str
    model: Model

    def weigh(self, examples: Iterable[Example]) -> Evidence: ...


def check_start(pipe: FittedPipe, nlp: Language | None, fit: str | None, strength: float | None) -> None:
    """Check the settings before anything is computed.

    fit (Optional[str]): "maxent" or None.
    """
    if fit not in (None, "maxent"):
        raise ValueError(Errors.T320.format(name=pipe.name, found=fit))
    if strength is not None and not 0.0 < strength < numpy.inf:
        raise ValueError(Errors.T321.format(name=pipe.name, found=strength))
    if fit is None:
        if strength is not None:
            raise ValueError(Errors.T322.format(name=pipe.name, found=strength))
        return
    if pipe.model.attrs.get("states") is None:
        raise ValueError(Errors.T323.format(name=pipe.name, found=pipe.model.name))
    for node in pipe.model.walk():
        if nlp is None and isinstance(node, Tok2VecListener):
            raise ValueError(Errors.T326.format(name=pipe.name, upstream=node.upstream_name))


def start_from_maxent(
    pipe: FittedPipe,
    get_examples: GetExamples,
    nlp: Language | None,
    n_labelled: int,
    strength: float | None,
) -> None:
    """Solve the output layer, and write the optimum into it. Hidden layers and the query of attention pooling stay as
    they were initialised.

    nlp (Optional[Language]): The pipeline, initialised up to this component.
    strength (Optional[float]): Of the prior; None to choose it by cross-validation.
    """
    upstream = _upstream(pipe.name, nlp)
    batches, parts = [], []
    with tqdm(total=n_labelled, desc=f"Rows for {pipe.name}", delay=BAR_AFTER, leave=False, disable=None) as bar:
        for examples in _batches(get_examples()):
            evidence = pipe.weigh(examples)
            batches.append(_states(pipe, upstream, examples))
            parts.append(evidence)
            bar.update(len(examples))
    evidence = _joined(parts)
    if not evidence.positive.any() and (evidence.negative is None or not evidence.negative.any()):
        raise ValueError(Errors.T325.format(name=pipe.name, count=n_labelled))
    solution = solve_maxent(numpy.concatenate(batches), evidence, strength)
    output, xp = pipe.model.get_ref("output"), pipe.model.ops.xp
    output.set_param("W", xp.asarray(solution.W, dtype="f"))
    output.set_param("b", xp.asarray(solution.b, dtype="f"))
    _report(pipe.name, solution, n_labelled, strength)


def _upstream(name: str, nlp: Language | None) -> list[Pipe]:
    """The components whose rows a component reads, directly or through others, in the order of the pipeline. Disabled
    ones count: `spacy train` disables what is frozen while it initialises the rest."""
    components = [] if nlp is None else nlp.components
    names = [other for other, _ in components]
    readers, found = {name}, list[Pipe]()
    for other, component in reversed(components[: names.index(name)] if name in names else []):
        if isinstance(component, ListenedToComponent) and readers & set(component.listening_components):
            readers.add(other)
            found.append(component)
    return found[::-1]


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    labelled = (example for example in examples if example.reference.cats)
    while batch := list(islice(labelled, BATCH)):
        yield batch


def _states(pipe: FittedPipe, upstream: list[Pipe], examples: list[Example]) -> Floats:
    """The input of the output layer. Rows are on copies of the docs, which live as long as the batch."""
    docs: list[Doc] = [example.predicted.copy() for example in examples]
    for component in upstream:
        component.set_annotations(docs, component.predict(docs))
    states, _ = pipe.model.attrs["states"](pipe.model, docs, False)
    states = pipe.model.ops.to_numpy(states)
    finite = numpy.isfinite(states).all(axis=1)
    if not finite.all():
        raise ValueError(Errors.T327.format(name=pipe.name, text=docs[int(finite.argmin())].text[:60]))
    return states


def _joined(parts: list[Evidence]) -> Evidence:
    negatives = [part.negative for part in parts if part.negative is not None]
    positive, holds = (numpy.concatenate([getattr(part, name) for part in parts]) for name in ("positive", "holds"))
    return Evidence(positive, numpy.concatenate(negatives) if negatives else None, holds)


def _report(name: str, solution: Solution, n_docs: int, given: float | None) -> None:
    if solution.accuracy is not None:
        how = f"held-out accuracy {solution.accuracy:.1%}, log-likelihood {solution.log_likelihood:.3f}"
    else:
        how = "as given" if given is not None else "labels are too rare for cross-validation"
    logger.info(
        "%s: maxent on %d docs, strength %.3g (%s), %.1f s", name, n_docs, solution.strength, how, solution.seconds
    )
