"""`fit = "maxent"`: the optimum of a head's output layer on frozen rows, before training begins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy
from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example
from spacy.ty import ListenedToComponent
from spacy.util import logger
from thinc.api import Model

from ...checks import POSITIVE, require
from ...errors import Errors
from ...heads.label_texts import LabelTexts, check_label_texts
from ...heads.layers import StatesAttrs
from ...heads.maxent import Evidence, Solution, solve_maxent
from ...progress import progress
from ...types import Floats, GetExamples, Ints, Pipe

if TYPE_CHECKING:
    from tqdm import tqdm

BATCH = 128
"""Docs whose rows are held at the same time."""


class FittedPipe(Protocol):
    """A head of texts or tokens, as far as this start needs it."""

    name: str
    model: Model

    @property
    def labels(self) -> Sequence[str]: ...
    def is_labelled(self, example: Example) -> bool: ...
    def weigh(self, examples: list[Example]) -> Evidence: ...


@dataclass(frozen=True)
class Fit:
    """How the output layer starts: keys of `[initialize.components.NAME]`.

    fit (Optional["maxent"]): Solve the output layer to its optimum on the rows of all training texts; None to start it
        from zeros.
    strength (Optional[float]): Of the prior of fit = "maxent", which adds strength / 2 * ||W||^2 to the summed loss;
        None to choose it by cross-validation.
    """

    fit: str | None = None
    strength: float | None = None

    def check(self, pipe: FittedPipe, nlp: Language | None) -> None:
        """Check the settings before anything is computed."""
        name = pipe.name
        if self.fit not in (None, "maxent"):
            raise ValueError(Errors.T320.format(name=name, found=self.fit))
        if self.strength is not None and not 0.0 < self.strength < numpy.inf:
            raise ValueError(Errors.T321.format(name=name, found=self.strength))
        if self.fit is None:
            if self.strength is not None:
                raise ValueError(Errors.T322.format(name=name, found=self.strength))
            return
        if not StatesAttrs.fits(pipe.model):
            raise ValueError(Errors.T323.format(name=name, found=pipe.model.name))
        for node in pipe.model.walk():
            if nlp is None and isinstance(node, Tok2VecListener):
                raise ValueError(Errors.T326.format(name=name, upstream=node.upstream_name))


@dataclass(frozen=True)
class Start(Fit):
    """The same for classifiers.

    label_texts (Union["names", Dict[str, Union[str, List[str]]], None]): More examples for fit = "maxent": the names of
        the labels that read like words, or one or several descriptions by label.
    label_text_weight (float): How many examples each of them counts.
    """

    label_texts: LabelTexts = None
    label_text_weight: float = 1.0

    def check(self, pipe: FittedPipe, nlp: Language | None) -> None:
        """Check the settings before anything is computed."""
        name = pipe.name
        check_label_texts(name, self.label_texts)
        require(f"initialize.components.{name}", POSITIVE, label_text_weight=self.label_text_weight)
        super().check(pipe, nlp)
        if self.label_texts is not None and self.fit is None:
            raise ValueError(Errors.T920.format(name=name, lacks="fit is null", way='Set fit = "maxent"'))
        if self.label_texts is not None and nlp is None:
            lacks, way = "there is no pipeline to tokenize them", "Call nlp.initialize(), or pass nlp=nlp"
            raise ValueError(Errors.T920.format(name=name, lacks=lacks, way=way))

    @property
    def described(self) -> list[str]:
        """RETURNS (List[str]): Labels that have descriptions: the label set, where no text has a label."""
        return list(self.label_texts) if isinstance(self.label_texts, dict) else []


def start_from_maxent(
    pipe: FittedPipe,
    get_examples: GetExamples,
    nlp: Language | None,
    n_labelled: int,
    start: Fit,
    texts: dict[str, list[str]] | None = None,
) -> float:
    """Solve the output layer, and write the optimum into it. Hidden layers and the query of attention pooling stay as
    they were initialised.

    nlp (Optional[Language]): The pipeline, initialised up to this component.
    texts (Optional[Dict[str, List[str]]]): Labels by text: see `heads.label_texts`.
    RETURNS (float): The strength of the prior.
    """
    texts = texts or {}
    upstream = _upstream(pipe.name, nlp)
    with progress(what=f"Rows for {pipe.name}", unit=" units", total=n_labelled) as bar:
        parts = [_part(pipe, upstream, batch, bar) for batch in _batches(pipe, get_examples())]
        if nlp is not None and isinstance(start, Start) and start.label_texts is not None:
            described = _batches(pipe, _described(nlp, pipe.labels, texts))
            parts += [_part(pipe, upstream, batch, bar, start.label_text_weight) for batch in described]
    evidence = _joined([part.evidence for part in parts], len(texts))
    if not evidence.positive.any() and (evidence.negative is None or not evidence.negative.any()):
        raise ValueError(Errors.T325.format(name=pipe.name, count=n_labelled))
    solution = solve_maxent(numpy.concatenate([part.states for part in parts]), evidence, start.strength)
    output, xp = pipe.model.get_ref("output"), pipe.model.ops.xp
    output.set_param("W", xp.asarray(solution.W, dtype="f"))
    output.set_param("b", xp.asarray(solution.b, dtype="f"))
    _report(pipe.name, solution, n_labelled, len(texts), start.strength)
    return solution.strength


def _described(nlp: Language, labels: Sequence[str], texts: dict[str, list[str]]) -> Iterator[Example]:
    """Examples of label texts. A label that a text is not given for does not hold, in a multilabel head too: otherwise
    nothing would speak against a label without an example."""
    for text, holders in texts.items():
        yield Example.from_dict(nlp.make_doc(text), {"cats": {label: float(label in holders) for label in labels}})


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


def _batches(pipe: FittedPipe, examples: Iterable[Example]) -> Iterator[list[Example]]:
    labelled = (example for example in examples if pipe.is_labelled(example))
    while batch := list(islice(labelled, BATCH)):
        yield batch


@dataclass(frozen=True)
class _Part:
    """Rows and labels of a batch."""

    states: Floats
    evidence: Evidence


def _part(
    pipe: FittedPipe, upstream: list[Pipe], examples: list[Example], bar: "tqdm[Any]", weight: float = 1.0
) -> _Part:
    evidence = pipe.weigh(examples)
    if weight != 1.0:
        negative = None if evidence.negative is None else weight * evidence.negative
        evidence = replace(evidence, positive=weight * evidence.positive, negative=negative)
    states = _states(pipe, upstream, examples, evidence.groups)
    bar.update(len(examples))
    return _Part(states, evidence)


def _states(pipe: FittedPipe, upstream: list[Pipe], examples: list[Example], groups: Ints | None) -> Floats:
    """The input of the output layer. Rows are on copies of the docs, which live as long as the batch."""
    docs: list[Doc] = [example.predicted.copy() for example in examples]
    for component in upstream:
        component.set_annotations(docs, component.predict(docs))
    states, _ = StatesAttrs.of(pipe.model).states(pipe.model, docs, False)
    states = pipe.model.ops.to_numpy(states)
    finite = numpy.isfinite(states).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        text = docs[row if groups is None else int(groups[row])].text
        raise ValueError(Errors.T327.format(name=pipe.name, text=text[:60]))
    return states


def _joined(parts: list[Evidence], n_texts: int) -> Evidence:
    negatives = [part.negative for part in parts if part.negative is not None]
    positive, holds = (numpy.concatenate([getattr(part, name) for part in parts]) for name in ("positive", "holds"))
    groups, n_docs = list[Ints](), 0
    for part in parts:
        if part.groups is not None:
            groups.append(part.groups + n_docs)
            n_docs = int(groups[-1].max(initial=n_docs - 1)) + 1
    of_docs = numpy.concatenate(groups) if groups else None
    return Evidence(positive, numpy.concatenate(negatives) if negatives else None, holds, n_texts, of_docs)


def _report(name: str, solution: Solution, n_docs: int, n_texts: int, given: float | None) -> None:
    if solution.accuracy is not None:
        how = f"held-out accuracy {solution.accuracy:.1%}, log-likelihood {solution.log_likelihood:.3f}"
    else:
        how = "as given" if given is not None else "labels are too rare for cross-validation"
    what = f"{n_docs} docs" + (f" and {n_texts} label texts" if n_texts else "")
    logger.info("%s: maxent on %s, strength %.3g (%s), %.1f s", name, what, solution.strength, how, solution.seconds)
