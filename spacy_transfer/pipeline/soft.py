"""What a teacher has left for a head (`spacy-transfer.Teacher.v1`): its loss, and what heads say as teachers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from spacy.training import Example

from ..corpora.marks import soft_of
from ..errors import Errors
from ..heads.crf import Transitions
from ..heads.soft import soft_crf_loss, soft_cross_entropy, soften, tag_marginals
from ..heads.tokens import PARTS, TokenScores

_TINY = 1e-30


@dataclass(frozen=True)
class Targets:
    """A teacher's answers to some examples.

    teacher (Dict[str, Any]): What is the same for all of them, such as "labels".
    answers (List[Dict[str, Any]]): For each example "logits" or "rows".
    temperature (float), weight (float), partial (bool): See `create_teacher_v1`.
    """

    teacher: dict[str, Any]
    answers: list[dict[str, Any]]
    temperature: float
    weight: float
    partial: bool


@dataclass(frozen=True)
class Lesson:
    """Examples of a batch that are learned in the same way.

    mask (Array): Which, bool, shape (n_examples,).
    targets (Optional[Targets]): What a teacher says of them; None for those without.
    """

    mask: Any
    targets: Targets | None


def lessons_of(examples: Sequence[Example], name: str) -> list[Lesson]:
    """RETURNS (List[Lesson]): The examples of a batch by their teachers; one lesson if all have the same, or none."""
    answers = soft_of(examples, name)
    keys = [None if answer is None else _teacher_of(answer) for answer in answers]
    found = []
    for key in dict.fromkeys(keys):
        mask = numpy.array([other == key for other in keys], dtype=bool)
        own = [answer for answer, mine in zip(answers, mask, strict=True) if mine and answer is not None]
        found.append(Lesson(mask, _targets(own) if own else None))
    return found


def _teacher_of(answer: dict[str, Any]) -> tuple[Any, ...]:
    """Not the identity of the dict: spaCy copies what is on docs."""
    about = answer["teacher"]
    settings = (answer["temperature"], answer["weight"], answer["partial"])
    return (about["source"], about["component"], *settings, *about.get("tags", about.get("labels", ())))


def _targets(answers: list[dict[str, Any]]) -> Targets:
    first = answers[0]
    return Targets(first["teacher"], answers, first["temperature"], first["weight"], first["partial"])


def taught_labels(example: Example, name: str) -> list[str]:
    """RETURNS (List[str]): Labels of which a teacher speaks to a component; none without a teacher."""
    (answer,) = soft_of([example], name)
    return [] if answer is None else list(answer["teacher"].get("labels", ()))


def check_kind(name: str, targets: Targets, kind: str) -> None:
    """RAISES (ValueError): When targets are of another kind than a head takes."""
    if targets.teacher["kind"] != kind:
        raise ValueError(Errors.T434.format(name=name, found=targets.teacher["kind"], wanted=kind))


def columns_of(name: str, targets: Targets, own: Sequence[str]) -> Any:
    """Where a teacher's labels stand in a head.

    name (str): Of the component.
    targets (Targets): With names of labels, or of tags.
    own (Sequence[str]): The head's.
    RETURNS (Array): Shape (n_teacher_labels,).
    RAISES (ValueError): When the sets differ, unless the head may have more.
    """
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


def label_loss(pipe: Any, targets: Targets, scores: Any) -> tuple[float, Any]:
    """Of docs: T ** 2 * cross-entropy of softened distributions, and its gradient with respect to the logits.

    pipe (Classifier): The component.
    targets (Targets): What a teacher says.
    scores (Floats2d): The head's probabilities, shape (n_docs, n_labels).
    RETURNS (Tuple[float, Floats2d]): Summed loss and gradient.
    """
    check_kind(pipe.name, targets, "labels")
    ops, columns = pipe.model.ops, columns_of(pipe.name, targets, pipe.labels)
    chosen = scores[:, columns]
    # Logits but for what all labels share, which changes nothing.
    logits = ops.xp.log(chosen + _TINY)
    if not pipe.exclusive:
        logits = logits - ops.xp.log(1.0 - chosen + _TINY)
    given = ops.asarray(numpy.stack([answer["logits"] for answer in targets.answers]))
    wanted = soften(ops.xp, given, targets.temperature, pipe.exclusive)
    shares = ops.xp.ones(len(given), dtype="f")
    loss, d_chosen = soft_cross_entropy(ops.xp, logits, wanted, targets.temperature, shares, pipe.exclusive)
    gradient = ops.xp.zeros_like(scores)
    gradient[:, columns] = d_chosen
    return loss, gradient


def tag_loss(pipe: Any, targets: Targets, scores: TokenScores, allowed: Transitions) -> tuple[float, TokenScores]:
    """Of tokens: with the softmax decoder, cross-entropy against the teacher's marginals; with a CRF, against the whole
    of its distribution. New tags are left out of both sides.

    pipe (TokenPipe): The component.
    targets (Targets): What a teacher says.
    scores (TokenScores): What the head made of the docs.
    allowed (Transitions): Which tags may stand side by side, bool.
    RETURNS (Tuple[float, TokenScores]): Summed loss and gradients.
    """
    check_kind(pipe.name, targets, "tags")
    columns, temperature = columns_of(pipe.name, targets, pipe.tags), targets.temperature
    logits = pipe.model.ops.to_numpy(scores.logits)
    given = numpy.concatenate([answer["logits"] for answer in targets.answers]).astype("d")
    about = targets.teacher
    theirs = Transitions(*(numpy.asarray(about[part], "d") for part in PARTS)) if "start" in about else None
    d_logits, chosen = numpy.zeros(logits.shape), logits[:, columns].astype("d")
    if scores.transitions is None:
        wanted = tag_marginals(given, scores.lengths, theirs, temperature)
        loss, d_logits[:, columns] = soft_cross_entropy(numpy, chosen, wanted, temperature, numpy.ones(len(given)))
        return loss, pipe.gradient(scores, d_logits, None)
    own = pipe.transitions(scores, allowed)
    if theirs is None:
        theirs = _only(allowed, columns).map(lambda mask: numpy.where(mask, 0.0, -numpy.inf))
    shares = numpy.ones(len(scores.lengths))
    loss, d_chosen, d_own = soft_crf_loss(
        chosen, scores.lengths, _only(own, columns), given, theirs, temperature, shares
    )
    d_logits[:, columns] = d_chosen
    d_transitions = own.map(numpy.zeros_like)
    d_transitions.start[columns], d_transitions.end[columns] = d_own.start, d_own.end
    d_transitions.matrix[numpy.ix_(columns, columns)] = d_own.matrix
    return loss, pipe.gradient(scores, d_logits, d_transitions)


def _only(transitions: Transitions, columns: Any) -> Transitions:
    matrix = transitions.matrix[numpy.ix_(columns, columns)]
    return Transitions(transitions.start[columns], matrix, transitions.end[columns])


def check_tokens(name: str, examples: Sequence[Example], targets: Targets, part: str = "logits") -> None:
    """RAISES (ValueError): When a teacher has answered about other tokens than those of the docs."""
    for example, answer in zip(examples, targets.answers, strict=True):
        if len(answer[part]) != len(example.predicted):
            facts = {"text": example.predicted.text[:60], "found": len(answer[part]), "wanted": len(example.predicted)}
            raise ValueError(Errors.T431.format(name=name, **facts))


def by_doc(values: Any, lengths: Any) -> list[Any]:
    """RETURNS (List[Array]): Rows of tokens, doc by doc."""
    return numpy.split(values, numpy.cumsum(lengths)[:-1]) if len(lengths) else []
