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
from ...heads.tagging.crf import Transitions, crf_loss, softmax_loss
from ...heads.tagging.schemes import OUTSIDE, Scheme, SchemeKind, span_unlikelihood
from ...heads.tagging.token_decisions import EntityDecisions, JudgedEntities
from ...heads.tagging.tokens import TokenAttrs, TokenScores
from ...types import Bools, Floats, Ints
from .distillation import by_doc
from .entities import Crossing, IncorrectSpan, count_entities, gold_entities, incorrect_spans, judged
from .entity_decoding import MARK, Entities, Found, Given, best_tags, no_entities, register_confidence
from .tokens import DEFAULT_MODEL, TokenPipe, first_tokens, part_of, write_attributes


@Language.factory(
    "transfer_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    requires=["doc.tensor"],
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
    lenient (bool): Read the best tag of each token, and let an entity begin also at an inside tag, in place of the best
        well-formed tags. Heads of transformers are read so (see `read_leniently`). With the softmax decoder only.
    spans_key (str): `doc.spans[spans_key]` gets the entities again, and its attrs["scores"] their probabilities;
        they are in `ent._.confidence` as well. Where another `transfer_ner` has left its own there, the component's
        name is the key.
    incorrect_spans_key (Optional[str]): `doc.spans` of that key in training texts holds what is known to be no entity
        of its label.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferNER): The component.
    """
    settings = NERSettings(scheme, threshold, lenient, spans_key, incorrect_spans_key)
    return TransferNER(nlp.vocab, model, name, settings, scorer=scorer)


@dataclass(frozen=True)
class NERSettings:
    """The settings of a recognizer; see `make_ner`."""

    scheme: SchemeKind = "bio"
    threshold: float = 0.0
    lenient: bool = False
    spans_key: str = "transfer_ner"
    incorrect_spans_key: str | None = None


class TransferNER(TokenPipe):
    """Named entities; see `make_ner`.

    Entities that a doc has already, for example of an entity_ruler, stay, with probability 1, and constrain the tags
    around them. As in spaCy's own ner no entity crosses a sentence start that is set, or begins with white space. With
    the softmax decoder the best *well-formed* tags are taken. Probabilities are exact marginals of a span and its
    label, given that tags are well-formed (with softmax: a CRF with transition scores of 0).
    """

    what = "an entity"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "transfer_ner",
        settings: NERSettings | None = None,
        *,
        scorer: Callable | None = None,
    ) -> None:
        super().__init__(vocab, model, name, scorer=scorer)
        settings = settings or NERSettings()
        if not 0.0 <= settings.threshold <= 1.0:
            raise ValueError(Errors.T330.format(name=name, found=settings.threshold))
        if settings.lenient and TokenAttrs.of(model).decoder == "crf":
            raise ValueError(Errors.T395.format(name=name))
        self.kind = settings.scheme
        self.lenient = settings.lenient
        self.threshold = settings.threshold
        self.spans_key = settings.spans_key
        self.incorrect_spans_key = settings.incorrect_spans_key
        self._scheme: tuple[tuple[str, ...], Scheme] | None = None
        self._has_warned = False
        register_confidence(self.spans_key)

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
            return no_entities(lengths)
        return self._find(docs).entities(lengths, self.label_ids, self.temperature, self.threshold)

    def _find(self, docs: list[Doc]) -> Found:
        """The best tags, and the entities in them."""
        scores = self.scores_of(docs)
        given, logits = Given(docs, scores.lengths), self.model.ops.to_numpy(scores.logits)
        if self.lenient:
            read = given.read(self.scheme, logits, self._preset_labels(given))
            return Found(given, read.starts, read.ends, read.labels, read)
        logits = self._constrained(logits, given)
        transitions = self.transitions(scores, self.allowed)
        tags = best_tags(scores, logits, transitions, self.allowed)
        starts, ends, labels = self.scheme.entities(tags, given.first)
        # Docs without entities have nothing to compute.
        chosen, own = part_of(scores.lengths, starts)
        at = numpy.searchsorted(chosen, starts)
        extents = at, at + (ends - starts), tags[tags > 0], self.scheme.may_follow
        return Found(given, starts, ends, labels, EntityDecisions(logits[chosen], own, transitions, *extents))

    def _preset_labels(self, given: Given) -> Ints:
        """Indices of the labels of entities that the docs have already."""
        none = numpy.full(len(given.types), -1)
        return self.index_labels(given.types, ()) if given.preset.any() else none

    def _constrained(self, logits: Floats, given: Given) -> Floats:
        """Logits, -inf for tags that what the docs have already does not allow."""
        mask = given.constraints(self.scheme, self._preset_labels(given))
        return logits if mask is None else numpy.where(mask, logits, -numpy.inf)

    def decisions(self, examples: Iterable[Example]) -> JudgedEntities:
        """The decisions about texts, for `heads.calibration`. Entities that a doc has already do not count;
        those below the threshold do.

        RETURNS (JudgedEntities): All that would be predicted.
        """
        examples = [eg for eg in self.own_examples(lambda: examples)() if len(eg.predicted)]
        if not examples:
            none = numpy.zeros(0, dtype="int64")
            nothing = self.scheme.allowed.map(lambda part: part.astype("d"))
            return EntityDecisions(numpy.zeros((0, len(self.tags))), none, nothing, none, none, none, none, none)
        found = self._find([eg.predicted for eg in examples])
        right = judged(examples, found.starts, found.ends, [self.labels[i] for i in found.labels])
        found.spans.right = numpy.where(found.given.preset[found.starts], numpy.nan, right)
        return found.spans

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
        allow every tag."""
        mask = self.gold_mask(examples)
        logits, transitions = self.model.ops.to_numpy(scores.logits), self.transitions(scores, self.allowed)
        d_transitions = None
        if scores.transitions is None:
            loss, d_logits = softmax_loss(logits, mask)
        else:
            loss, d_logits, d_transitions = crf_loss(logits, scores.lengths, transitions, mask)
        wrong = self._incorrect(examples)
        if wrong:
            more, d_wrong, d_between = span_unlikelihood(self.scheme, logits, scores.lengths, transitions, wrong)
            loss, d_logits = loss + more, d_logits + d_wrong
            d_transitions = None if d_transitions is None else d_transitions.plus(d_between)
        return loss, self.gradient(scores, d_logits, d_transitions)

    def gold_mask(self, examples: Sequence[Example]) -> Bools:
        """RETURNS (Array): Which tags the references allow each token, shape (n_tokens, n_tags)."""
        lengths = numpy.array([len(eg.predicted) for eg in examples])
        iob, labels = self._gold(examples)
        mask = self.scheme.mask(iob, labels, first_tokens(lengths))
        self._open(mask, iob, examples, lengths)
        return mask

    def logits_of(self, docs: Sequence[Doc]) -> tuple[TokenScores, Floats]:
        """RETURNS (Tuple[TokenScores, Floats2d]): Scores, and logits that are -inf where a tag may not be."""
        scores, logits = super().logits_of(docs)
        return scores, self._constrained(logits, Given(docs, scores.lengths))

    def tag_confidences(self, docs: Sequence[Doc]) -> list[dict[str, object]]:
        """Probabilities of entities, and of being outside of them.

        RETURNS (List[Dict[str, object]]): For each doc "ents": first token, end, label, probability; and
            "outside": of each token the probability to be in no entity.
        """
        if not docs:
            return []
        scores, logits = self.logits_of(docs)
        transitions = self.transitions(scores, self.allowed)
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
