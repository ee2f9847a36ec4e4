"""`transfer_ner`: named entities from tags, each with its probability."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import logger
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ...corpora.example_info import open_of
from ...errors import Errors, Warnings
from ...heads.soft_losses import tag_marginals
from ...heads.tagging.crf import Transitions, crf_loss, softmax_loss, viterbi
from ...heads.tagging.lenient import LenientEntities, read_leniently
from ...heads.tagging.schemes import (
    BEGIN,
    INSIDE,
    MISSING,
    NO_LABEL,
    OUTSIDE,
    Scheme,
    SchemeKind,
    find_runs,
    span_unlikelihood,
)
from ...heads.tagging.token_decisions import EntityDecisions, JudgedEntities
from ...heads.tagging.tokens import TokenScores
from ...types import Bools, Floats, Ints
from .confidence import MARK, register_confidence
from .distillation import by_doc
from .entities import Crossing, IncorrectSpan, count_entities, gold_entities, incorrect_spans, judged
from .tokens import DEFAULT_MODEL, TokenPipe, first_tokens, part_of, write_attributes


@Language.factory(
    "transfer_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "scheme": "bio",
        "threshold": 0.0,
        "lenient": False,
        "spans_key": "transfer_ner",
        "incorrect_spans_key": None,
        "scorer": {"@scorers": "spacy-transfer.NERScorer.v1", "bins": 15},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None, "ents_ece": None},
)
def make_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], TokenScores],
    scheme: Literal["bio", "biluo"],
    threshold: float,
    lenient: bool,
    spans_key: str,
    incorrect_spans_key: str | None,
    scorer: Callable | None,
) -> "TransferNER":
    """Construct a recognizer of named entities.

    model (Model[List[Doc], TokenScores]): A head, `spacy-transfer.TokenHead.v1`.
    scheme (str): How entities are tagged: "bio" or "biluo".
    threshold (float): Entities that are less probable are dropped: more precision, less recall.
    lenient (bool): Read the best tag of each token, and let an entity begin wherever a tag goes on with nothing, in
        place of looking for the best well-formed tags; so heads from elsewhere are read (see `read_leniently`). With
        the softmax decoder only.
    spans_key (str): `doc.spans[spans_key]` gets the entities again, and its attrs["scores"] their probabilities;
        they are in `ent._.confidence` as well. Where another `transfer_ner` has left its own there, the component's
        name is the key.
    incorrect_spans_key (Optional[str]): `doc.spans` of that key in training texts holds what is known to be no entity
        of its label.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferNER): The component.
    """
    return TransferNER(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        threshold=threshold,
        lenient=lenient,
        spans_key=spans_key,
        incorrect_spans_key=incorrect_spans_key,
        scorer=scorer,
    )


@dataclass
class Entities:
    """What was found in a batch, doc after doc.

    attributes (Array): ENT_IOB and ENT_TYPE of every token, uint64, shape (n_tokens, 2).
    lengths (Array): Tokens of every doc, shape (n_docs,).
    starts (Array), ends (Array): First tokens and tokens after the last ones, counted through all docs.
    """

    attributes: Ints
    lengths: Ints
    starts: Ints
    ends: Ints
    labels: Ints
    scores: Floats


@dataclass
class _Found:
    """Entities on the way to a doc: its attributes before, first tokens of docs, and the entities in the tags."""

    given: Ints
    first: Bools
    starts: Ints
    ends: Ints
    labels: Ints
    spans: JudgedEntities


class TransferNER(TokenPipe):
    """Named entities; see `make_ner`.

    Entities that a doc has already (of an entity_ruler, say) stay, with probability 1, and constrain the tags around
    them. As in spaCy's own ner no entity crosses a sentence start that is set, or begins with white space. With the
    softmax decoder the best *well-formed* tags are taken. Probabilities are exact marginals:
    that just this span carries just this label, given that tags are well-formed (with softmax, that is a CRF whose
    transitions weigh nothing).
    """

    what = "an entity"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "transfer_ner",
        *,
        scheme: SchemeKind = "bio",
        threshold: float = 0.0,
        lenient: bool = False,
        spans_key: str = "transfer_ner",
        incorrect_spans_key: str | None = None,
        scorer: Callable | None = None,
    ) -> None:
        super().__init__(vocab, model, name, scorer=scorer)
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(Errors.T330.format(name=name, found=threshold))
        if lenient and model.attrs["decoder"] == "crf":
            raise ValueError(Errors.T395.format(name=name))
        self.kind = scheme
        self.lenient = lenient
        self.threshold = threshold
        self.spans_key = spans_key
        self.incorrect_spans_key = incorrect_spans_key
        self._scheme: tuple[tuple[str, ...], Scheme] | None = None
        self._has_warned = False
        register_confidence(spans_key)

    @property
    def scheme(self) -> Scheme:
        """RETURNS (Scheme): The tags of the labels as they are now."""
        if self._scheme is None or self._scheme[0] != self.labels:
            self._scheme = (self.labels, Scheme(self.labels, self.kind))
        return self._scheme[1]

    @property
    def tags(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): Names of the rows of the output layer, in order: "O", "B-PER", "I-PER", ..."""
        return self.scheme.tags

    def predict(self, docs: Iterable[Doc]) -> Entities:
        """Find entities.

        docs (Iterable[Doc]): The docs.
        RETURNS (Entities): For `set_annotations`.
        """
        docs = list(docs)
        lengths = numpy.array([len(doc) for doc in docs], dtype="int64")
        if not lengths.sum():
            none = numpy.zeros(0, dtype="int64")
            return Entities(numpy.zeros((0, 2), "uint64"), lengths, none, none, none, numpy.zeros(0))
        found = self._find(docs)
        return self._entities(found, lengths, found.spans.scores(self.model.attrs["temperature"]))

    def _find(self, docs: list[Doc]) -> _Found:
        """The best well-formed tags, and the entities in them."""
        scores = self.scores_of(docs)
        first = first_tokens(scores.lengths)
        given = numpy.concatenate([doc.to_array(["ENT_IOB", "ENT_TYPE", "SENT_START", "IS_SPACE"]) for doc in docs])
        logits = self.model.ops.to_numpy(scores.logits)
        if self.lenient:
            read = self._read(given, logits, first)
            return _Found(given, first, read.starts, read.ends, read.labels, read)
        logits = logits if (mask := self._constraints(given, first)) is None else numpy.where(mask, logits, -numpy.inf)
        tags = self._decode(scores, logits, first)
        starts, ends, labels = self.scheme.entities(tags, first)
        # Docs without entities have nothing to compute.
        chosen, own = part_of(scores.lengths, starts)
        at, transitions = numpy.searchsorted(chosen, starts), self.transitions(scores, self.scheme.allowed)
        extents = at, at + (ends - starts), tags[tags > 0], self.scheme.may_follow
        spans = EntityDecisions(logits[chosen], own, transitions, *extents)
        return _Found(given, first, starts, ends, labels, spans)

    def decisions(self, examples: Iterable[Example]) -> JudgedEntities:
        """The decisions about texts, for `heads.calibration`. Entities that a doc has already do not count;
        those below the threshold do.

        examples (Iterable[Example]): With rows on their predicted docs. Those that train others alone are left out.
        RETURNS (JudgedEntities): All that would be predicted.
        """
        examples = [eg for eg in self.own_examples(lambda: examples)() if len(eg.predicted)]
        if not examples:
            none = numpy.zeros(0, dtype="int64")
            nothing = self.scheme.allowed.map(lambda part: part.astype("d"))
            return EntityDecisions(numpy.zeros((0, len(self.tags))), none, nothing, none, none, none, none, none)
        found = self._find([eg.predicted for eg in examples])
        right = judged(examples, found.starts, found.ends, [self.labels[i] for i in found.labels])
        preset = numpy.isin(found.given[found.starts, 0].astype("int64"), (BEGIN, INSIDE))
        found.spans.right = numpy.where(preset, numpy.nan, right)
        return found.spans

    def _constraints(self, given: Ints, first: Bools) -> Bools | None:
        """Allowed tags; None for all. O on a doc is no constraint, as in spaCy: rulers leave it everywhere."""
        iob = given[:, 0].astype("int64")
        preset = (iob == BEGIN) | (iob == INSIDE)
        sentences, spaces = given[:, 2].astype("int64") == 1, given[:, 3] != 0
        sentences &= ~first
        if not (preset.any() or sentences.any() or spaces.any()):
            return None
        labels = numpy.where(given[:, 1] == 0, NO_LABEL, self.index_labels(given[:, 1], ()))
        mask = self.scheme.mask(numpy.where(preset, iob, MISSING), labels, first)
        mask[spaces & ~preset] &= ~self.scheme.opens
        mask[sentences & ~preset] &= ~self.scheme.goes_on
        return mask

    def _read(self, given: Ints, logits: Floats, first: Bools) -> LenientEntities:
        """For `lenient`. Sentence starts, and entities that were there, end the entities beside them."""
        iob, sentences = given[:, 0].astype("int64"), given[:, 2].astype("int64") == 1
        preset = (iob == BEGIN) | (iob == INSIDE)
        breaks = first | sentences & ~preset
        if preset.any():
            labels = numpy.where(given[:, 1] == 0, NO_LABEL, self.index_labels(given[:, 1], ()))
            mask = self.scheme.mask(numpy.where(preset, iob, MISSING), labels, first)
            logits = numpy.where(mask, logits, -numpy.inf)
            breaks[1:] |= preset[:-1] & ~preset[1:]
        return read_leniently(self.scheme, logits, breaks, (given[:, 3] != 0) & ~preset)

    def _decode(self, scores: TokenScores, logits: Floats, first: Bools) -> Ints:
        allowed = self.scheme.allowed
        if scores.transitions is not None:
            return viterbi(logits, scores.lengths, self.transitions(scores, allowed))
        # Without scores of neighbours, the best tag of each token is the best sequence, if it is well-formed.
        tags = logits.argmax(axis=1)
        wrong = first & ~allowed.start[tags]
        wrong[1:] |= ~first[1:] & ~allowed.matrix[tags[:-1], tags[1:]]
        wrong |= numpy.append(first[1:], True) & ~allowed.end[tags]
        if wrong.any():
            chosen, lengths = part_of(scores.lengths, numpy.flatnonzero(wrong))
            tags[chosen] = viterbi(logits[chosen], lengths, self.transitions(scores, allowed))
        return tags

    def _entities(self, found: _Found, lengths: Ints, probabilities: Floats) -> Entities:
        """Put new entities beside those that were there."""
        given, first, starts, ends, labels = found.given, found.first, found.starts, found.ends, found.labels
        iob, types = given[:, 0].astype("int64"), given[:, 1].copy()
        preset = (iob == BEGIN) | (iob == INSIDE)
        iob[~preset], types[~preset] = OUTSIDE, 0
        kept = (probabilities >= self.threshold) & ~preset[starts]
        starts, ends, labels = starts[kept], ends[kept], self.label_ids[labels[kept]]
        sizes = ends - starts
        inside = numpy.arange(sizes.sum()) + numpy.repeat(starts - (numpy.cumsum(sizes) - sizes), sizes)
        iob[inside], types[inside] = INSIDE, numpy.repeat(labels, sizes)
        iob[starts] = BEGIN
        of_token = numpy.ones(len(iob))
        of_token[starts] = probabilities[kept]
        if preset.any():
            runs = find_runs(iob, numpy.where(types == 0, NO_LABEL, 0), first)
            starts, ends = numpy.flatnonzero(runs.starts), numpy.flatnonzero(runs.lasts) + 1
            labels = types[starts]
        attributes = numpy.stack([iob.astype("uint64"), types], axis=1)
        return Entities(attributes, lengths, starts, ends, labels, of_token[starts])

    def set_annotations(self, docs: Iterable[Doc], scores: Entities) -> None:
        """Write entities and their probabilities.

        docs (Iterable[Doc]): The docs.
        scores (Entities): What `predict` found.
        """
        tokens = numpy.cumsum(scores.lengths)
        begins = (tokens - scores.lengths).tolist()
        bounds = [0, *numpy.searchsorted(scores.starts, tokens).tolist()]
        starts, ends, labels = scores.starts.tolist(), scores.ends.tolist(), scores.labels.tolist()
        values = scores.scores.tolist()
        for i, (doc, begin) in enumerate(zip(docs, begins, strict=True)):
            if len(doc):
                write_attributes(doc, ["ENT_IOB", "ENT_TYPE"], scores.attributes[begin : begin + len(doc)])
            a, b = bounds[i], bounds[i + 1]
            spans = [Span(doc, starts[j] - begin, ends[j] - begin, labels[j]) for j in range(a, b)]
            attrs = {"scores": values[a:b], MARK: self.name}
            key = self._key(doc)
            doc.spans[key] = SpanGroup(doc, name=key, attrs=attrs, spans=spans)

    def _key(self, doc: Doc) -> str:
        """The key of this component's entities: its own name, where another one has left its entities."""
        group = doc.spans.get(self.spans_key)
        is_own = group is None or group.attrs.get(MARK, self.name) == self.name
        return self.spans_key if is_own else self.name

    def gold_loss(self, examples: Sequence[Example], scores: TokenScores) -> tuple[float, TokenScores]:
        """Summed loss of a batch, and its gradient. Tokens without annotation, and those of entities that cross tokens,
        allow every tag.

        scores (TokenScores): What the head made of it.
        RETURNS (Tuple[float, TokenScores]): Loss, and gradients of the logits and the scores of neighbours.
        """
        first = first_tokens(scores.lengths)
        iob, labels = self._gold(examples)
        mask = self.scheme.mask(iob, labels, first)
        self._open(mask, iob, examples, scores.lengths)
        logits = self.model.ops.to_numpy(scores.logits)
        d_transitions = None
        if scores.transitions is None:
            loss, d_logits = softmax_loss(logits, mask)
        else:
            transitions = self.transitions(scores, self.scheme.allowed)
            loss, d_logits, d_transitions = crf_loss(logits, scores.lengths, transitions, mask)
        wrong = self._incorrect(examples)
        if wrong:
            transitions = self.transitions(scores, self.scheme.allowed)
            more, d_wrong, d_between = span_unlikelihood(self.scheme, logits, scores.lengths, transitions, wrong)
            loss, d_logits = loss + more, d_logits + d_wrong
            d_transitions = None if d_transitions is None else d_transitions.plus(d_between)
        return loss, self.gradient(scores, d_logits, d_transitions)

    def logits_of(self, docs: Sequence[Doc]) -> tuple[TokenScores, Floats]:
        """RETURNS (Tuple[TokenScores, Floats2d]): Scores, and logits that are -inf where a tag may not be."""
        scores, logits = super().logits_of(docs)
        given = numpy.concatenate([doc.to_array(["ENT_IOB", "ENT_TYPE", "SENT_START", "IS_SPACE"]) for doc in docs])
        mask = self._constraints(given, first_tokens(scores.lengths))
        return scores, logits if mask is None else numpy.where(mask, logits, -numpy.inf)

    def tag_confidences(self, docs: Sequence[Doc]) -> list[dict[str, object]]:
        """Probabilities of entities, and of being outside of them.

        RETURNS (List[Dict[str, object]]): For each doc "ents": first token, end, label, probability; and
            "outside": of each token the probability to be in no entity.
        """
        if not docs:
            return []
        scores, logits = self.logits_of(docs)
        transitions = self.transitions(scores, self.scheme.allowed)
        of_tags = tag_marginals(logits, scores.lengths, transitions, self.temperature)
        outside = by_doc(of_tags[:, 0].astype("f"), scores.lengths)
        copies = [doc.copy() for doc in docs]
        self.set_annotations(copies, self.predict(docs))
        groups = [doc.spans[self._key(doc)] for doc in copies]
        ents = [
            [[e.start, e.end, e.label_, score] for e, score in zip(group, group.attrs["scores"], strict=True)]
            for group in groups
        ]
        return [{"ents": each, "outside": values} for each, values in zip(ents, outside, strict=True)]

    @property
    def allowed(self) -> Transitions:
        """RETURNS (Transitions): Which tags may stand side by side, bool."""
        return self.scheme.allowed

    def _open(self, mask: Bools, iob: Ints, examples: Sequence[Example], lengths: Ints) -> None:
        """Where some labels were not annotated, "outside" allows their tags."""
        named = open_of(examples, self.name)
        for opened in set(named) - {()}:
            here = numpy.repeat(numpy.array([each == opened for each in named]), lengths) & (iob == OUTSIDE)
            wanted = [self.labels.index(label) for label in opened if label in self.labels]
            mask[numpy.ix_(here, numpy.isin(self.scheme.label, wanted))] = True

    def _gold(self, examples: Sequence[Example]) -> tuple[Ints, Ints]:
        """ENT_IOB of the tokens of all docs, and indices of labels."""
        iob, ids, crossing = gold_entities(examples, self.vocab)
        self._warn(crossing)
        return iob, self.index_labels(ids, examples)

    def _warn(self, crossing: Crossing) -> None:
        if crossing.count and not self._has_warned:
            self._has_warned = True
            logger.warning(Warnings.W330.format(name=self.name, **vars(crossing)))

    def _incorrect(self, examples: Sequence[Example]) -> list[IncorrectSpan]:
        if self.incorrect_spans_key is None:
            return []
        return incorrect_spans(examples, self.incorrect_spans_key, self.labels, self.name)

    def count_labels(self, examples: Iterable[Example]) -> dict[str, int]:
        """RETURNS (Dict[str, int]): How often each label is in the references of examples."""
        found, crossing = count_entities(examples)
        self._has_warned = False
        self._warn(crossing)
        self._has_warned = True
        return found
