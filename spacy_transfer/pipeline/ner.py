"""`transfer_ner`: named entities from tags, each with its probability."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import logger
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..errors import Errors, Warnings
from ..heads.crf import Chain, crf_loss, softmax_loss, unlikelihood_loss, viterbi
from ..heads.lenient import LenientEntities, read_leniently
from ..heads.schemes import BEGIN, INSIDE, MISSING, NO_LABEL, OUTSIDE, Scheme, SchemeKind, find_runs
from ..heads.tokens import TokenScores
from .tokens import TokenPipe, check_batch, check_examples, first_tokens, same_tokens

MARK = "probabilities_of"
"""In the attrs of a span group: the component whose entities it holds."""
DEFAULT_MODEL = """
[model]
@architectures = "spacy-transfer.TokenHead.v1"
hidden = []
activation = "relu"
dropout = null
bilstm = null
decoder = "crf"
nO = null

[model.tok2vec]
@architectures = "spacy-transfer.Listener.v1"
upstream = "*"
width = null
"""


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
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
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
        they are in `ent._.confidence` as well.
    incorrect_spans_key (Optional[str]): `doc.spans` of that key in training texts holds what is known to be no entity
        of its label.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferNER): The component.
    """
    settings: dict[str, Any] = {"spans_key": spans_key, "incorrect_spans_key": incorrect_spans_key, "lenient": lenient}
    return TransferNER(nlp.vocab, model, name, scheme=scheme, threshold=threshold, scorer=scorer, **settings)


@dataclass
class Entities:
    """What was found in a batch, doc after doc.

    attributes (Array): ENT_IOB and ENT_TYPE of every token, uint64, shape (n_tokens, 2).
    lengths (Array): Tokens of every doc, shape (n_docs,).
    starts (Array), ends (Array): First tokens and tokens after the last ones, counted through all docs.
    labels (Array): spaCy's numbers of the labels.
    scores (Array): Probabilities.
    """

    attributes: Any
    lengths: Any
    starts: Any
    ends: Any
    labels: Any
    scores: Any


class TransferNER(TokenPipe):
    """Named entities; see `make_ner`.

    What is an entity on a doc already (of an entity_ruler, say) stays, and the tags around it are found under that
    constraint; its probability is 1. As in spaCy's own ner no entity goes over a sentence start that is set, or begins
    with white space. With the softmax decoder the best *well-formed* tags are taken. Probabilities are exact marginals:
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
        _register_confidence(spans_key)

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
            return Entities(numpy.zeros((0, 2), "uint64"), lengths, none, none, none, none)
        scores, first = self.scores_of(docs), first_tokens(lengths)
        given = numpy.concatenate([doc.to_array(["ENT_IOB", "ENT_TYPE", "SENT_START", "IS_SPACE"]) for doc in docs])
        logits = self.model.ops.to_numpy(scores.logits)
        if self.lenient:
            found = self._read(given, logits, first)
            return self._entities(given, lengths, first, (found.starts, found.ends, found.labels, found.scores()))
        logits = logits if (mask := self._constraints(given, first)) is None else numpy.where(mask, logits, -numpy.inf)
        tags = self._decode(scores, logits, first)
        starts, ends, labels = self.scheme.entities(tags, first)
        probabilities = self._probabilities(scores, logits, tags, starts, ends)
        return self._entities(given, lengths, first, (starts, ends, labels, probabilities))

    def _constraints(self, given: Any, first: Any) -> Any:
        """Tags that are allowed; None for all. O on a doc is no constraint, as in spaCy: rulers leave it everywhere."""
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

    def _read(self, given: Any, logits: Any, first: Any) -> LenientEntities:
        """What `lenient` finds. Sentence starts and entities that were there part what stands on their sides."""
        iob, sentences = given[:, 0].astype("int64"), given[:, 2].astype("int64") == 1
        preset = (iob == BEGIN) | (iob == INSIDE)
        breaks = first | sentences & ~preset
        if preset.any():
            labels = numpy.where(given[:, 1] == 0, NO_LABEL, self.index_labels(given[:, 1], ()))
            mask = self.scheme.mask(numpy.where(preset, iob, MISSING), labels, first)
            logits = numpy.where(mask, logits, -numpy.inf)
            breaks[1:] |= preset[:-1] & ~preset[1:]
        return read_leniently(self.scheme, logits, breaks, (given[:, 3] != 0) & ~preset)

    def _decode(self, scores: TokenScores, logits: Any, first: Any) -> Any:
        allowed = self.scheme.allowed
        if scores.transitions is not None:
            return viterbi(logits, scores.lengths, self.transitions(scores, allowed))
        # Without scores of neighbours, the best tag of each token is the best sequence, if it is well-formed.
        tags = logits.argmax(axis=1)
        wrong = first & ~allowed.start[tags]
        wrong[1:] |= ~first[1:] & ~allowed.matrix[tags[:-1], tags[1:]]
        wrong |= numpy.append(first[1:], True) & ~allowed.end[tags]
        if wrong.any():
            chosen, lengths = _part(scores.lengths, numpy.flatnonzero(wrong))
            tags[chosen] = viterbi(logits[chosen], lengths, self.transitions(scores, allowed))
        return tags

    def _probabilities(self, scores: TokenScores, logits: Any, tags: Any, starts: Any, ends: Any) -> Any:
        """Of docs with entities alone: the others have nothing to compute."""
        if not len(starts):
            return numpy.zeros(0)
        chosen, lengths = _part(scores.lengths, starts)
        chain = Chain(logits[chosen], lengths, self.transitions(scores, self.scheme.allowed))
        at = numpy.searchsorted(chosen, starts)
        inside = tags[tags > 0]
        return chain.span_marginals(at, at + (ends - starts), inside, self.scheme.may_follow)

    def _entities(self, given: Any, lengths: Any, first: Any, found: tuple[Any, Any, Any, Any]) -> Entities:
        """Put what was found beside what was there."""
        starts, ends, labels, probabilities = found
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
                doc.from_array(["ENT_IOB", "ENT_TYPE"], scores.attributes[begin : begin + len(doc)])
            a, b = bounds[i], bounds[i + 1]
            spans = [Span(doc, starts[j] - begin, ends[j] - begin, labels[j]) for j in range(a, b)]
            attrs = {"scores": values[a:b], MARK: self.name}
            doc.spans[self.spans_key] = SpanGroup(doc, name=self.spans_key, attrs=attrs, spans=spans)

    def get_loss(self, examples: Iterable[Example], scores: TokenScores) -> tuple[float, TokenScores]:
        """Summed loss of a batch, and its gradient. Tokens without annotation, and those of entities that cross tokens,
        allow every tag.

        examples (Iterable[Example]): The batch.
        scores (TokenScores): What the head made of it.
        RETURNS (Tuple[float, TokenScores]): Loss, and gradients of the logits and the scores of neighbours.
        """
        examples = check_batch(examples, self)
        first = first_tokens(scores.lengths)
        iob, labels = self._gold(examples)
        mask = self.scheme.mask(iob, labels, first)
        logits = self.model.ops.to_numpy(scores.logits)
        d_transitions = None
        if scores.transitions is None:
            loss, d_logits = softmax_loss(logits, mask)
        else:
            transitions = self.transitions(scores, self.scheme.allowed)
            loss, d_logits, d_transitions = crf_loss(logits, scores.lengths, transitions, mask)
        wrong = self._incorrect(examples) if self.incorrect_spans_key is not None else []
        if wrong:
            loss += self._avoid(wrong, scores, logits, d_logits, d_transitions)
        return loss, self.gradient(scores, d_logits, d_transitions)

    def _gold(self, examples: Sequence[Example]) -> tuple[Any, Any]:
        """ENT_IOB of the tokens of all docs, and indices of labels."""
        parts, crossing, total = [], Counter[str](), 0
        for example in examples:
            if same_tokens(example):
                parts.append(example.reference.to_array(["ENT_IOB", "ENT_TYPE"]))
                continue
            entities, tags = example.get_aligned_ents_and_ner()
            parts.append(_from_biluo(tags, self.vocab))
            crossing[example.reference.text] += len(example.reference.ents) - len(entities)
            total += len(example.reference.ents)
        self._warn(crossing, total)
        given = numpy.concatenate(parts)
        iob, ids = given[:, 0].astype("int64"), given[:, 1]
        # What is blocked on a doc says that nothing was looked for, as in spaCy.
        iob[((iob == BEGIN) | (iob == INSIDE)) & (ids == 0)] = MISSING
        return iob, self.index_labels(ids, examples)

    def _warn(self, crossing: Counter[str], total: int) -> None:
        count = sum(crossing.values())
        if count and not self._has_warned:
            self._has_warned = True
            text = next(text for text, n in crossing.items() if n)[:60]
            logger.warning(Warnings.W330.format(name=self.name, count=count, total=total, text=text))

    def _incorrect(self, examples: Sequence[Example]) -> list[tuple[int, int, int, int]]:
        """Spans that are known to be none: index of the example, first token, token after the last, label."""
        found = list[tuple[int, int, int, int]]()
        labels = {label: i for i, label in enumerate(self.labels)}
        for i, example in enumerate(examples):
            spans = example.reference.spans.get(self.incorrect_spans_key, ())
            spans = [span for span in spans if span.label_ in labels]
            entities = {(ent.start, ent.end, ent.label_) for ent in example.reference.ents} if spans else set()
            for span in spans:
                if (span.start, span.end, span.label_) in entities:
                    facts = {"text": example.reference.text[:60], "span": span.text, "label": span.label_}
                    raise ValueError(Errors.T335.format(name=self.name, key=self.incorrect_spans_key, **facts))
            if not same_tokens(example):
                spans = example.get_aligned_spans_y2x(spans, allow_overlap=True)
            found.extend((i, span.start, span.end, labels[span.label_]) for span in spans)
        return found

    def _avoid(
        self, wrong: Sequence[tuple[int, int, int, int]], scores: TokenScores, logits: Any, d_logits: Any, d: Any
    ) -> float:
        """Add to the gradients what keeps incorrect spans from being predicted: the doc once for each of them, with the
        tags that would make up the span."""
        scheme, ends = self.scheme, numpy.cumsum(scores.lengths)
        places, lengths, masks = [], [], []
        for i, start, end, label in wrong:
            place = numpy.arange(ends[i] - scores.lengths[i], ends[i])
            mask = numpy.ones((len(place), len(scheme.tags)), dtype=bool)
            at = numpy.arange(start, end)
            tags = scheme.entity_tags(numpy.full(end - start, label), at == start, at == end - 1)
            mask[start:end] = False
            mask[at, tags] = True
            if end < len(mask):
                mask[end] = scheme.may_follow[tags[-1]]
            places.append(place)
            lengths.append(len(place))
            masks.append(mask)
        tokens = numpy.concatenate(places)
        transitions = self.transitions(scores, scheme.allowed)
        loss, d_tokens, d_wrong = unlikelihood_loss(
            logits[tokens], numpy.array(lengths), transitions, numpy.concatenate(masks)
        )
        numpy.add.at(d_logits, tokens, d_tokens)
        if d is not None:
            for part, values in vars(d_wrong).items():
                setattr(d, part, getattr(d, part) + values)
        return loss

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Find the labels and build the head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, if they are known already.
        """
        check_examples(get_examples, self)
        found, crossing, total = Counter[str](), Counter[str](), 0
        for example in get_examples():
            entities = example.reference.ents
            found.update(entity.label_ for entity in entities)
            total += len(entities)
            if entities and not same_tokens(example):
                aligned, _ = example.get_aligned_ents_and_ner()
                crossing[example.reference.text] += len(entities) - len(aligned)
        self._has_warned = False
        self.initialize_labels(get_examples, labels, found)
        self._warn(crossing, total)
        self._has_warned = True


def confidence(span: Span) -> float | None:
    """`ent._.confidence`: the probability of an entity, from the span group in which a `transfer_ner` left it.

    span (Span): An entity.
    RETURNS (Optional[float]): Between 0 and 1; None for a span that none of them found.
    """
    for group in span.doc.spans.values():
        if MARK in group.attrs:
            at = bisect_left(range(len(group)), span.start, key=lambda i: group[i].start)
            if at < len(group) and (group[at].end, group[at].label) == (span.end, span.label):
                return group.attrs["scores"][at]
    return None


def _register_confidence(spans_key: str) -> None:
    if not Span.has_extension("confidence"):
        Span.set_extension("confidence", getter=confidence)
    elif Span.get_extension("confidence")[2] is not confidence:
        logger.warning(Warnings.W332.format(key=spans_key))


def _part(lengths: Any, tokens: Any) -> tuple[Any, Any]:
    """The docs in which some tokens are: all their tokens, and their lengths."""
    docs = numpy.repeat(numpy.arange(len(lengths)), lengths)
    wanted = numpy.zeros(len(lengths), dtype=bool)
    wanted[docs[tokens]] = True
    return numpy.flatnonzero(wanted[docs]), lengths[wanted]


def _from_biluo(tags: Sequence[str | None], vocab: Vocab) -> Any:
    """ENT_IOB and ENT_TYPE, uint64, shape (n_tokens, 2), of what spaCy's alignment gives."""
    iob = {"B": BEGIN, "U": BEGIN, "I": INSIDE, "L": INSIDE, "O": OUTSIDE, "-": MISSING}
    pairs = [(iob[(tag or "-")[0]], vocab.strings.add(tag[2:]) if tag and tag[2:] else 0) for tag in tags]
    return numpy.array(pairs, dtype="uint64").reshape(-1, 2)
