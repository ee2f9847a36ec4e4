"""Losses against a teacher's answers (`spacy-transfer.Teacher.v1`)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, cast

import numpy
from spacy.training import Example
from thinc.api import Model

from ...corpora.example_info import soft_of
from ...errors import Errors
from ...heads.soft_losses import soft_crf_loss, soft_cross_entropy, soften, tag_marginals
from ...heads.tagging.crf import Transitions
from ...heads.tagging.tokens import TokenScores
from ...types import Bools, Floats, Ints

_TINY = 1e-30


class Teacher(TypedDict, total=False):
    """What is the same for all answers of a teacher. A CRF's scores of neighbours are "start", "matrix" and "end"."""

    kind: str
    source: str
    component: str
    labels: list[str]
    tags: list[str]
    exclusive: bool
    start: Floats
    matrix: Floats
    end: Floats


class Answer(TypedDict, total=False):
    """What a teacher says of one example: "logits" or "rows"; and the settings of `create_teacher_v1`."""

    logits: Floats
    rows: Floats
    teacher: Teacher
    temperature: float
    weight: float
    partial: bool


class LabelHead(Protocol):
    """A head that scores labels of docs."""

    name: str
    model: Model
    exclusive: bool

    @property
    def labels(self) -> Sequence[str]: ...


class TagHead(Protocol):
    """A head that scores tags of tokens."""

    name: str
    model: Model

    @property
    def tags(self) -> Sequence[str]: ...

    def transitions(self, scores: TokenScores, allowed: Transitions) -> Transitions: ...

    def gradient(self, scores: TokenScores, d_logits: Floats, d_transitions: Transitions | None) -> TokenScores: ...


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's answers to some examples.

    teacher (Teacher): What is the same for all of them.
    temperature (float), weight (float), partial (bool): See `create_teacher_v1`.
    """

    teacher: Teacher
    answers: list[Answer]
    temperature: float
    weight: float
    partial: bool


@dataclass(frozen=True)
class TeacherGroup:
    """Examples of a batch with the same teacher.

    mask (Array): Which, bool, shape (n_examples,).
    targets (Optional[SoftTargets]): The teacher's answers; None for those without.
    """

    mask: Bools
    targets: SoftTargets | None


def answers_to(examples: Sequence[Example], name: str) -> list[Answer | None]:
    """RETURNS (List[Optional[Answer]]): A teacher's answer to each example for a component; None without."""
    return cast(list[Answer | None], soft_of(examples, name))


def by_teacher(examples: Sequence[Example], name: str) -> list[TeacherGroup]:
    """RETURNS (List[TeacherGroup]): The examples of a batch; one group if all have the same teacher, or none."""
    answers = answers_to(examples, name)
    keys = [None if answer is None else _teacher_of(answer) for answer in answers]
    found = []
    for key in dict.fromkeys(keys):
        mask = numpy.array([other == key for other in keys], dtype=bool)
        own = [answer for answer, mine in zip(answers, mask, strict=True) if mine and answer is not None]
        found.append(TeacherGroup(mask, _targets(own) if own else None))
    return found


def _teacher_of(answer: Answer) -> tuple[Hashable, ...]:
    """Not the identity of the dict: spaCy copies what is on docs."""
    about = answer["teacher"]
    settings = (answer["temperature"], answer["weight"], answer["partial"])
    return (about["source"], about["component"], *settings, *about.get("tags", about.get("labels", ())))


def _targets(answers: list[Answer]) -> SoftTargets:
    first = answers[0]
    return SoftTargets(first["teacher"], answers, first["temperature"], first["weight"], first["partial"])


def taught_labels(example: Example, name: str) -> list[str]:
    """RETURNS (List[str]): Labels that a teacher knows for a component; none without a teacher."""
    (answer,) = answers_to([example], name)
    return [] if answer is None else list(answer["teacher"].get("labels", ()))


def check_kind(name: str, targets: SoftTargets, kind: str) -> None:
    """RAISES (ValueError): When targets are of another kind than a head takes."""
    if targets.teacher["kind"] != kind:
        raise ValueError(Errors.T434.format(name=name, found=targets.teacher["kind"], wanted=kind))


def _columns(name: str, targets: SoftTargets, own: Sequence[str]) -> Ints:
    """Columns of a teacher's labels (or tags) in a head. The sets must agree, unless the head may have more."""
    about = targets.teacher
    theirs = about.get("tags", about["labels"])
    place = {label: i for i, label in enumerate(own)}
    known = set(theirs)
    alone = [label for label in theirs if label not in place]
    more = [label for label in own if label not in known]
    if alone or (more and not targets.partial):
        facts = {"other": about["component"], "source": about["source"], "theirs": alone, "own": more}
        raise ValueError(Errors.T430.format(name=name, **facts))
    return numpy.array([place[label] for label in theirs])


def label_loss(pipe: LabelHead, targets: SoftTargets, scores: Floats) -> tuple[float, Floats]:
    """Of docs: T ** 2 * cross-entropy of softened distributions, and its gradient with respect to the logits.

    scores (Floats2d): The head's probabilities, shape (n_docs, n_labels).
    RETURNS (Tuple[float, Floats2d]): Summed loss and gradient.
    """
    check_kind(pipe.name, targets, "labels")
    ops, columns = pipe.model.ops, _columns(pipe.name, targets, pipe.labels)
    chosen = scores[:, columns]
    # Logits but for a constant that all labels share, which changes nothing.
    logits = ops.xp.log(chosen + _TINY)
    if not pipe.exclusive:
        logits = logits - ops.xp.log(1.0 - chosen + _TINY)
    given = ops.xp.asarray(numpy.stack([answer["logits"] for answer in targets.answers]))
    wanted = soften(ops.xp, given, targets.temperature, pipe.exclusive)
    shares = ops.xp.ones(len(given), dtype="f")
    loss, d_chosen = soft_cross_entropy(ops.xp, logits, wanted, targets.temperature, shares, pipe.exclusive)
    gradient = ops.xp.zeros_like(scores)
    gradient[:, columns] = d_chosen
    return loss, gradient


def tag_loss(
    pipe: TagHead, targets: SoftTargets, scores: TokenScores, allowed: Transitions
) -> tuple[float, TokenScores]:
    """Of tokens: with the softmax decoder, cross-entropy against the teacher's marginals; with a CRF, against the whole
    of its distribution. New tags are left out of both sides.

    scores (TokenScores): What the head made of the docs.
    allowed (Transitions): Which tags may stand side by side, bool.
    RETURNS (Tuple[float, TokenScores]): Summed loss and gradients.
    """
    check_kind(pipe.name, targets, "tags")
    columns, temperature = _columns(pipe.name, targets, pipe.tags), targets.temperature
    logits = pipe.model.ops.to_numpy(scores.logits)
    given = numpy.concatenate([answer["logits"] for answer in targets.answers]).astype("d")
    about = targets.teacher
    theirs = None
    if "start" in about:
        theirs = Transitions(*(numpy.asarray(part, "d") for part in (about["start"], about["matrix"], about["end"])))
    d_logits, chosen = numpy.zeros(logits.shape), logits[:, columns].astype("d")
    if scores.transitions is None:
        wanted = tag_marginals(given, scores.lengths, theirs, temperature)
        loss, d_logits[:, columns] = soft_cross_entropy(numpy, chosen, wanted, temperature, numpy.ones(len(given)))
        return loss, pipe.gradient(scores, d_logits, None)
    own = pipe.transitions(scores, allowed)
    if theirs is None:
        theirs = _only(allowed, columns).map(lambda mask: numpy.where(mask, 0.0, -numpy.inf))
    shares, between = numpy.ones(len(scores.lengths)), _only(own, columns)
    loss, d_chosen, d_own = soft_crf_loss(chosen, scores.lengths, between, given, theirs, temperature, shares)
    d_logits[:, columns] = d_chosen
    d_transitions = own.map(numpy.zeros_like)
    d_transitions.start[columns], d_transitions.end[columns] = d_own.start, d_own.end
    d_transitions.matrix[numpy.ix_(columns, columns)] = d_own.matrix
    return loss, pipe.gradient(scores, d_logits, d_transitions)


def _only(transitions: Transitions, columns: Ints) -> Transitions:
    matrix = transitions.matrix[numpy.ix_(columns, columns)]
    return Transitions(transitions.start[columns], matrix, transitions.end[columns])


def check_tokens(name: str, examples: Sequence[Example], targets: SoftTargets) -> None:
    """RAISES (ValueError): When a teacher has answered about other tokens than those of the docs."""
    for example, answer in zip(examples, targets.answers, strict=True):
        found, wanted = len(answer["rows"] if "rows" in answer else answer["logits"]), len(example.predicted)
        if found != wanted:
            facts = {"text": example.predicted.text[:60], "found": found, "wanted": wanted}
            raise ValueError(Errors.T431.format(name=name, **facts))


def by_doc(values: Floats, lengths: Ints) -> list[Floats]:
    """RETURNS (List[Array]): Rows of tokens, doc by doc."""
    return numpy.split(values, numpy.cumsum(lengths)[:-1]) if len(lengths) else []
