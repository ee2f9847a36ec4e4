"""Retention: scores of a pipeline on old development sets, before a training and now."""

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeGuard

from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import Errors
from ..pipeline.backbone.component import Backbone
from ..progress import progress
from ..random_state import same_random_state
from ..text_table import text_table
from ..types import Config
from .forgetting import number
from .old_data import Data, bare_doc, fingerprint, is_raw, own_answers, read_data

Scores = dict[str, dict[str, float]]
"""Scores by their names, by the names of skills."""
_KEYS = ("data", "scores", "labels", "agreement", "new")


@dataclass(frozen=True)
class Skill:
    """Something that a pipeline can do.

    name (str): Its name in tables.
    data (Union[Callable, Path, str]): Texts: a reader, a .spacy file, or raw text. See `old_data.read_data`.
    scores (Tuple[str, ...]): Names of scores, as `spacy evaluate` calls them; "ents_per_type.PERSON.f" for one inside
        another. Empty for those that [training.score_weights] weighs.
    labels (Tuple[str, ...]): Count entities of these labels alone, on both sides. Each must be in the gold annotation,
        or one of the old pipeline's. Empty for all; under `agreement`, for all that the old pipeline has.
    agreement (bool): The old pipeline's own predictions are the gold annotation.
    new (bool): This training teaches it, so it cannot have been forgotten.
    """

    name: str
    data: Data
    scores: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    agreement: bool = False
    new: bool = False


def skills_from(blocks: Mapping[str, Config], key: str) -> list[Skill]:
    """Read skills from a config.

    blocks (Mapping[str, Dict]): The fields of `Skill`, by name.
    key (str): The config key, for messages.
    RETURNS (List[Skill]): In their order.
    RAISES (ValueError): When there is none, or a block has a wrong key or value.
    """
    if not blocks:
        raise ValueError(Errors.T790.format(key=key))
    found = []
    for name, block in blocks.items():
        for given in block:
            if given not in _KEYS:
                near = get_close_matches(given, _KEYS, n=2, cutoff=0.4) or list(_KEYS)
                raise ValueError(Errors.T791.format(key=f"{key}.{name}", given=given, near=near))
        data = block.get("data")
        wants_gold = not block.get("agreement", False)
        if data is None or (wants_gold and is_raw(data)):
            raise ValueError(Errors.T792.format(key=f"{key}.{name}", found=data))
        scores, labels = (_strings(block.get(which), f"{key}.{name}.{which}", which) for which in ("scores", "labels"))
        found.append(Skill(name, data, scores, labels, not wants_gold, bool(block.get("new", False))))
    return found


def _strings(given: object, key: str, which: str) -> tuple[str, ...]:
    """A list in a config. A string would be read letter by letter."""
    if given is None:
        return ()
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
        example = [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else []
        example = example or [{"scores": "ents_f", "labels": "PERSON"}[which]]
        raise ValueError(Errors.T784.format(key=key, found=given, last=which, example=json.dumps(example)))
    return tuple(given)


class OldSkills:
    """Development sets of what a pipeline could do, with its scores.

    before (Language): The old pipeline. It is not kept.
    skills (Sequence[Skill]): What is scored.
    key (str): The config key, for messages.

    `gold` has a fingerprint of the old pipeline's predictions, by names of skills that take them for gold. It is not
    one of its files: `before` may be in memory alone, and other files may give the same predictions.
    """

    def __init__(self, before: Language, skills: Sequence[Skill], key: str) -> None:
        self.skills = list(skills)
        self._sets = {skill.name: _read(before, skill, f"{key}.{skill.name}") for skill in self.skills}
        self.gold = {n: fingerprint(own.references, own.labels) for n, own in self._sets.items() if own.skill.agreement}
        self.before: Scores = {}
        for name, own in self._sets.items():
            own.check_labels(before, f"{key}.{name}.labels")
            scores = own.score(before)
            own.names = _wanted(before, own.skill, scores, f"{key}.{name}")
            self.before[name] = _picked(scores, own.names)

    def score(self, nlp: Language) -> Scores:
        """Scores of a pipeline now. Its training is not changed by that: random numbers and rows that are kept between
        epochs stay as they are.

        nlp (Language): The pipeline.
        RETURNS (Scores): The same names as `before`; NaN for what it does not score.
        """
        return {name: _picked(own.score(nlp), own.names) for name, own in self._sets.items()}


@dataclass
class _DevelopmentSet:
    """The texts of a skill, the labels that count (all if there are none), and the names of its scores."""

    skill: Skill
    texts: list[Doc]
    references: list[Doc]
    labels: frozenset[str]
    names: tuple[str, ...] = ()

    def check_labels(self, before: Language, key: str) -> None:
        known = _labels_of(self.references) | _entity_labels(before)
        if not known.issuperset(self.skill.labels):
            # Components need not say which labels they set.
            known |= _labels_of(self.predict(before))
        for label in self.skill.labels:
            if label not in known:
                near = _near(label, known) or sorted(known)
                raise ValueError(Errors.T785.format(key=key, label=label, near=near))

    def predict(self, nlp: Language) -> list[Doc]:
        with same_random_state(), _without_caches(nlp):
            docs = nlp.pipe([bare_doc(doc, nlp) for doc in self.texts])
            return list(progress(docs, what="Predicting", total=len(self.texts)))

    def score(self, nlp: Language) -> Mapping[str, object]:
        docs = self.predict(nlp)
        with same_random_state(), _without_caches(nlp):
            golds = [_in_vocab(doc, nlp) for doc in self.references]
            if self.labels:
                docs, golds = [_only(doc, self.labels) for doc in docs], [_only(doc, self.labels) for doc in golds]
            return Scorer(nlp=nlp).score([Example(a, b) for a, b in zip(docs, golds, strict=True)])


def _read(before: Language, skill: Skill, key: str) -> _DevelopmentSet:
    with same_random_state(), _without_caches(before):
        examples = list(read_data(before, skill.data, f"{key}.data"))
        if not examples:
            raise ValueError(Errors.T793.format(key=key))
        if skill.agreement:
            examples = own_answers(before, examples)
    labels = frozenset(skill.labels) or (_entity_labels(before) if skill.agreement else frozenset())
    return _DevelopmentSet(skill, [eg.predicted for eg in examples], [eg.reference for eg in examples], labels)


@dataclass(frozen=True)
class Row:
    """A line of a retention table: a score of a skill, before and now."""

    skill: str
    score: str
    before: float
    now: float

    @property
    def difference(self) -> float:
        return self.now - self.before

    def columns(self) -> dict[str, str | float]:
        """RETURNS (Dict[str, Union[str, float]]): By the names of the columns."""
        return {**vars(self), "difference": self.difference}


def as_rows(before: Scores, now: Scores) -> list[Row]:
    """RETURNS (List[Row]): One for each score."""
    return [
        Row(skill, name, value, now.get(skill, {}).get(name, math.nan))
        for skill, scores in before.items()
        for name, value in scores.items()
    ]


def as_text(rows: Iterable[Row]) -> str:
    """RETURNS (str): A table of several lines; scores times 100, differences with their sign."""

    lines = [
        (row.skill, row.score, f"{100 * row.before:.2f}", f"{100 * row.now:.2f}", f"{100 * row.difference:+.2f}")
        for row in rows
    ]
    header = ("skill", "score", "before", "now", "difference")
    return text_table(lines, header=header, aligns="llrrr")


def as_json(rows: Iterable[Row]) -> list[dict[str, str | float | None]]:
    """RETURNS (List[Dict[str, Union[str, float, None]]]): For a file; null for what is not known."""
    columns = [row.columns().items() for row in rows]
    return [{key: number(value) if isinstance(value, float) else value for key, value in own} for own in columns]


def _wanted(nlp: Language, skill: Skill, scores: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Names of scores, all of which the old pipeline has."""
    if not skill.scores:
        weights = nlp.config.interpolate()["training"].get("score_weights") or {}
        names = [name for name, weight in weights.items() if weight is not None and _is_number(scores.get(name))]
        defaults = [nlp.get_pipe_meta(name).default_score_weights or {} for name in nlp.pipe_names]
        main = [name for own in defaults for name, weight in own.items() if weight]
        names = names or [name for name in main if _is_number(scores.get(name))]
        if not names:
            raise ValueError(Errors.T795.format(key=key, near=sorted(_numbers(scores))))
        return tuple(names)
    for name in skill.scores:
        value = _at(scores, name)
        top = name if name in scores else name.partition(".")[0]
        if top in scores and scores[top] is None:
            raise ValueError(Errors.T796.format(key=key, name=name))
        if not _is_number(value):
            known = sorted(_numbers(scores))
            raise ValueError(Errors.T794.format(key=key, name=name, near=get_close_matches(name, known, n=5) or known))
    return skill.scores


def _numbers(scores: Mapping[str, object]) -> set[str]:
    return {name for name, value in scores.items() if _is_number(value)}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _at(scores: object, path: str) -> object:
    """A score, or one inside another. Labels may have dots in them."""
    if not isinstance(scores, Mapping):
        return None
    if path in scores:
        return scores[path]
    places = [i for i, char in enumerate(path) if char == "."]
    found = (_at(scores[path[:i]], path[i + 1 :]) for i in places if path[:i] in scores)
    return next((value for value in found if value is not None), None)


def _picked(scores: Mapping[str, object], names: Sequence[str]) -> dict[str, float]:
    values = {name: _at(scores, name) for name in names}
    return {name: float(value) if _is_number(value) else math.nan for name, value in values.items()}


def _entity_labels(nlp: Language) -> frozenset[str]:
    """Labels of all that sets entities."""
    setters = [name for name in nlp.pipe_names if "doc.ents" in nlp.get_pipe_meta(name).assigns]
    return frozenset(label for name in setters for label in getattr(nlp.get_pipe(name), "labels", ()))


def _labels_of(docs: Iterable[Doc]) -> frozenset[str]:
    return frozenset(ent.label_ for doc in docs for ent in doc.ents)


def _near(label: str, known: Iterable[str]) -> list[str]:
    """Near misses, in capitals or not."""
    folded: dict[str, list[str]] = {}
    for each in sorted(known):
        folded.setdefault(each.casefold(), []).append(each)
    return [each for found in get_close_matches(label.casefold(), folded, n=5) for each in folded[found]]


def _only(doc: Doc, labels: frozenset[str]) -> Doc:
    """Entities of other labels count as none; tokens without annotation stay so."""
    if all(ent.label_ in labels for ent in doc.ents):
        return doc
    missing = [doc[token.i : token.i + 1] for token in doc if token.ent_iob == 0]
    kept = [ent for ent in doc.ents if ent.label_ in labels]
    doc = doc.copy()
    own = [Span(doc, ent.start, ent.end, label=ent.label) for ent in kept]
    doc.set_ents(own, missing=[doc[span.start : span.end] for span in missing], default="outside")
    return doc


def _in_vocab(doc: Doc, nlp: Language) -> Doc:
    if doc.vocab is nlp.vocab:
        return doc
    return Doc(nlp.vocab).from_bytes(doc.to_bytes(exclude=["tensor"]), exclude=["tensor"])


@contextlib.contextmanager
def _without_caches(nlp: Language) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _, pipe in nlp.pipeline:
            if isinstance(pipe, Backbone):
                stack.enter_context(pipe.without_cache())
        yield
