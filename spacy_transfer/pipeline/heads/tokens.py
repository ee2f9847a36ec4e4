"""The base class of `transfer_ner` and `transfer_tagger`: labels, and scores of the head."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import islice

import numpy
from spacy.errors import Errors as SpacyErrors
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.util import logger
from spacy.vocab import Vocab
from thinc.api import Model

from ...backbones.listeners import name_head
from ...errors import Errors, Warnings
from ...heads.calibration import Decisions
from ...heads.losses import smooth
from ...heads.maxent import Evidence
from ...heads.soft_losses import tag_marginals
from ...heads.tagging.crf import Transitions
from ...heads.tagging.tokens import TokenAttrs, TokenScores, transitions_of
from ...types import Bools, Config, Floats, GetExamples, Ints
from ..argument_groups import takes
from ..labels.carry import Carry
from .base import Head
from .distillation import Answer, SoftTargets, Teacher, by_doc, check_tokens, tag_loss, taught_labels
from .maxent_start import Fit, start_from_maxent

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


class TokenPipe(Head[TokenScores]):
    """A component whose head scores tags; see `spacy-transfer.TokenHead.v1`."""

    what = ""
    """What a text must have to be learned from, for messages."""
    takes_soft = "tags"
    label_smoothing = 0.0

    def __init__(self, vocab: Vocab, model: Model, name: str, *, scorer: Callable | None) -> None:
        if not model.has_ref("output") or not TokenAttrs.fits(model):
            raise ValueError(Errors.T338.format(name=name, found=model.name))
        self.vocab, self.model, self.name, self.scorer = vocab, model, name, scorer
        name_head(model, name)
        self.cfg: Config = {"labels": []}

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels, in the order of the head's rows."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels, for `spacy init labels`."""
        return self.labels

    @property
    def tags(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): Names of the rows of the output layer, in order."""
        return self.labels

    @property
    def label_ids(self) -> Ints:
        """RETURNS (Array): spaCy's numbers of the labels, uint64, shape (n_labels,)."""
        return numpy.array([self.vocab.strings.add(label) for label in self.labels], dtype="uint64")

    def add_label(self, label: str) -> int:
        """RETURNS (int): 0 if the label was there, 1 otherwise. The others keep their weights bit for bit."""
        if not isinstance(label, str):
            raise ValueError(SpacyErrors.E187)
        if label in self.labels:
            return 0
        self.check_label(label)
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if self.model.get_ref("output").has_param("W"):
            self.frozen_rows = None  # It holds numbers of rows.
            self.set_output(len(self.tags))
        return 1

    def check_label(self, label: str) -> None:
        """RAISES (ValueError): When a label cannot be written to its attribute."""

    def scores_of(self, docs: Sequence[Doc]) -> TokenScores:
        """RETURNS (TokenScores): Of a batch that has tokens."""
        if not self.model.get_ref("output").has_param("W"):
            raise ValueError(Errors.T303.format(name=self.name))
        self._restore_frozen()
        return self.model.predict(docs)

    def has_rows(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether any doc has a token."""
        return any(len(doc) for doc in docs)

    def n_rows(self, examples: Sequence[Example], scores: TokenScores) -> Ints:
        """RETURNS (Array): Tokens of each doc."""
        return scores.lengths

    def fit_thresholds(self, parts: Sequence[Decisions]) -> None:
        """For `heads.calibration`. No label has a threshold to fit: tags exclude each other, and the one `threshold` of
        entities is the user's choice (`spacy find-threshold` finds that of the best F1)."""
        return None

    @property
    def allowed(self) -> Transitions:
        """RETURNS (Transitions): Which tags may stand side by side, bool."""
        n_tags = len(self.tags)
        return Transitions(numpy.ones(n_tags, bool), numpy.ones((n_tags, n_tags), bool), numpy.ones(n_tags, bool))

    @property
    def temperature(self) -> float:
        """RETURNS (float): From calibration; 1 without."""
        return TokenAttrs.of(self.model).temperature

    def logits_of(self, docs: Sequence[Doc]) -> tuple[TokenScores, Floats]:
        """RETURNS (Tuple[TokenScores, Floats2d]): Scores of a batch that has tokens, and the logits on the CPU."""
        scores = self.scores_of(docs)
        return scores, self.model.ops.to_numpy(scores.logits)

    def soft_targets(self, docs: Sequence[Doc]) -> tuple[Teacher, list[Answer]]:
        """This component's answers as a teacher: all that its distribution over tags is made of.

        RETURNS (Tuple[Teacher, List[Answer]]): "labels", "tags" and, of a CRF, scores of neighbours; for
            each doc "logits" of shape (n_tokens, n_tags).
        """
        shared: Teacher = {"labels": list(self.labels), "tags": list(self.tags)}
        if self.model.has_ref("transitions"):
            own = transitions_of(self.model.get_ref("transitions")).where(self.allowed)
            own = own.map(lambda part: part / self.temperature)
            shared["start"], shared["matrix"], shared["end"] = own.start, own.matrix, own.end
        if not docs:
            return shared, []
        scores, logits = self.logits_of(docs)
        return shared, [{"logits": rows} for rows in by_doc(logits / self.temperature, scores.lengths)]

    def tag_confidences(self, docs: Sequence[Doc]) -> list[dict[str, object]]:
        """RETURNS (List[Dict[str, object]]): For each doc "tokens": the probability of the likeliest tag of each."""
        if not docs:
            return []
        scores, logits = self.logits_of(docs)
        of_tags = tag_marginals(logits, scores.lengths, scores.transitions, self.temperature)
        return [{"tokens": values} for values in by_doc(of_tags.max(axis=1), scores.lengths)]

    def soft_loss(
        self, examples: Sequence[Example], scores: TokenScores, targets: SoftTargets
    ) -> tuple[float, TokenScores]:
        """RETURNS (Tuple[float, TokenScores]): See `tag_loss`."""
        check_tokens(self.name, examples, targets)
        return tag_loss(self, targets, scores, self.allowed)

    def transitions(self, scores: TokenScores, allowed: Transitions) -> Transitions:
        """RETURNS (Transitions): Scores of neighbours, 0 with the softmax decoder; -inf where not allowed."""
        if scores.transitions is not None:
            return scores.transitions.where(allowed)
        return Transitions(*(numpy.zeros(mask.shape) for mask in vars(allowed).values())).where(allowed)

    def gradient(self, scores: TokenScores, d_logits: Floats, d_transitions: Transitions | None) -> TokenScores:
        """RETURNS (TokenScores): Gradients, where the head takes them."""
        own = self.model.ops.xp.asarray(d_logits, dtype="f")
        return TokenScores(own, scores.lengths, None if scores.transitions is None else d_transitions)

    def count_labels(self, examples: Iterable[Example]) -> dict[str, int]:
        """RETURNS (Dict[str, int]): How often each label is in the references of examples."""
        raise NotImplementedError

    def gold_mask(self, examples: Sequence[Example]) -> Bools:
        """RETURNS (Array): Which tags the references allow each token: one, or all where nothing is known. Shape
        (n_tokens, n_tags), tokens as predicted."""
        raise NotImplementedError

    def is_labelled(self, example: Example) -> bool:
        """RETURNS (bool): Whether a text has tokens, for `fit = "maxent"`."""
        return len(example.predicted) > 0

    def weigh(self, examples: Sequence[Example]) -> Evidence:
        """The tags of tokens in the weights of this loss, for `fit = "maxent"`. A token with more than one possible tag
        counts nothing. Neighbours do not count either: a CRF starts with scores of 0 for them.

        RETURNS (Evidence): Shape (n_tokens, n_tags); tokens of a text are held out together.
        """
        mask = self.gold_mask(examples)
        holds = mask & (mask.sum(axis=1) == 1)[:, None]
        known = holds.any(axis=1, keepdims=True)
        docs = numpy.repeat(numpy.arange(len(examples)), [len(eg.predicted) for eg in examples])
        return Evidence(known * smooth(holds.astype("f"), self.label_smoothing, True), None, holds, groups=docs)

    @takes(start=Fit, carry=Carry)
    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        start: Fit,
        carry: Carry,
    ) -> None:
        """Find the labels, compare them with those of the texts, and build the head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, if they are known already.
        start (Fit): How the output layer starts; the fields of `Fit` are keys of the block.
        carry (Carry): What is taken from another pipeline; the fields of `Carry` are keys of the block.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        start.check(self, nlp)
        carry.check(self.name)
        own = self.own_examples(get_examples)
        taught = {label: 0 for example in own() for label in taught_labels(example, self.name)}
        self._take_labels(taught | self.count_labels(own()), labels)
        sample = [eg.reference for eg in islice(own(), 10)]
        self.model.initialize(X=sample, Y=self.model.ops.alloc2f(1, len(self.tags)))
        if start.fit is not None:
            n_texts = sum(1 for example in own() if self.is_labelled(example))
            if self.sees_only_sample(nlp, n_texts):
                raise ValueError(Errors.T324.format(name=self.name, count=n_texts))
            start_from_maxent(self, own, nlp, n_texts, start)
        carry.into(self, nlp)

    def _take_labels(self, found: dict[str, int], labels: Iterable[str] | None) -> None:
        # Labels that were added in code are enough, as for spaCy's own components.
        wanted = (sorted(found) or self.given_labels) if labels is None else list(labels)
        if not wanted:
            raise ValueError(Errors.T333.format(name=self.name, what=self.what))
        known = {*wanted, *self.given_labels}
        unknown = sorted(label for label in found if label not in known)
        unused = sorted(label for label in known if label not in found)
        if unknown:
            raise ValueError(Errors.T331.format(name=self.name, unknown=unknown, unused=unused))
        if unused:
            logger.warning(Warnings.W331.format(name=self.name, unused=unused))
        self.start_fresh(wanted)

    def index_labels(self, ids: Ints, examples: Sequence[Example]) -> Ints:
        """Indices of labels.

        ids (Array): spaCy's numbers of labels, shape (n_tokens,); 0 where there is none.
        examples (Sequence[Example]): Whose they are, for the message.
        RETURNS (Array): Shape (n_tokens,); what is 0 or no label of this head is -1.
        RAISES (ValueError): When there are examples, and the head does not have a label.
        """
        own = self.label_ids
        order = numpy.argsort(own)
        at = order[numpy.searchsorted(own[order], ids).clip(max=len(own) - 1)]
        found = numpy.where((own[at] == ids) & (ids != 0), at, -1)
        wrong = numpy.flatnonzero((found < 0) & (ids != 0))
        if examples and len(wrong):
            ends = numpy.cumsum([len(eg.predicted) for eg in examples])
            reference = examples[int(numpy.searchsorted(ends, wrong[0], side="right"))].reference
            label = reference.vocab.strings[int(ids[wrong[0]])]
            near = get_close_matches(label, self.labels, n=3, cutoff=0.4) or "none"
            facts = {"label": label, "labels": list(self.labels), "near": near, "text": reference.text[:60]}
            raise ValueError(Errors.T332.format(name=self.name, **facts))
        return found


def same_tokens(example: Example) -> bool:
    """RETURNS (bool): Whether the prediction has the tokens of the reference, so that nothing need be aligned."""
    predicted, reference = example.predicted, example.reference
    if len(predicted) != len(reference):
        return False
    return numpy.array_equal(predicted.to_array("ORTH"), reference.to_array("ORTH"))


def first_tokens(lengths: Ints) -> Bools:
    """RETURNS (Array): Whether a token is the first of its doc, bool, shape (n_tokens,)."""
    first = numpy.zeros(int(lengths.sum()), dtype=bool)
    first[(numpy.cumsum(lengths) - lengths)[lengths > 0]] = True
    return first


def part_of(lengths: Ints, tokens: Ints) -> tuple[Ints, Ints]:
    """The docs in which some tokens are.

    tokens (Array): The tokens, counted through all docs.
    RETURNS (Tuple[Array, Array]): All tokens of these docs, and the lengths of these docs.
    """
    docs = numpy.repeat(numpy.arange(len(lengths)), lengths)
    wanted = numpy.zeros(len(lengths), dtype=bool)
    wanted[docs[tokens]] = True
    return numpy.flatnonzero(wanted[docs]), lengths[wanted]


def write_attributes(doc: Doc, names: list[str], values: Ints) -> None:
    """Write attributes of tokens.

    values (Array): uint64, shape (n_tokens,), or (n_tokens, n_attributes).
    """
    write: Callable[..., Doc] = doc.from_array  # spaCy's stub wants Thinc's class of arrays.
    write(names, values)
