"""`transfer_tagger`: a tag or a part of speech for every token."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy
from spacy.language import Language
from spacy.parts_of_speech import IDS as POS_IDS
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ...backbones.listeners import has_rows
from ...errors import Errors
from ...heads.tagging.crf import crf_loss, softmax_loss, viterbi
from ...heads.tagging.token_decisions import TagDecisions
from ...heads.tagging.tokens import TokenAttrs, TokenScores
from ...types import Bools, Floats, Ints
from .tokens import DEFAULT_MODEL, TokenPipe, same_tokens, write_attributes

Attribute = Literal["tag", "pos"]
_MODEL = {**Config().from_str(DEFAULT_MODEL)["model"], "decoder": "softmax"}


@Language.factory(
    "transfer_tagger",
    assigns=["token.tag", "token.pos"],
    requires=["doc.tensor"],
    default_config={
        "model": _MODEL,
        "attribute": "tag",
        "overwrite": False,
        "label_smoothing": 0.0,
        "scorer": {"@scorers": "spacy-transfer.TaggerScorer.v1", "bins": 15},
    },
    default_score_weights={"tag_acc": 1.0, "pos_acc": 0.0, "tag_ece": None, "pos_ece": None},
)
def make_tagger(
    nlp: Language,
    name: str,
    model: Model[list[Doc], TokenScores],
    attribute: Literal["tag", "pos"],
    overwrite: bool,
    label_smoothing: float,
    scorer: Callable | None,
) -> "TransferTagger":
    """Construct a tagger.

    model (Model[List[Doc], TokenScores]): A head, `spacy-transfer.TokenHead.v1`.
    attribute (str): What is learned and written: "tag" for `token.tag_`, "pos" for `token.pos_`. Scores are `tag_acc`
        and, for the latter, `pos_acc`.
    overwrite (bool): Also where a token has a tag already.
    label_smoothing (float): Share of every target that is spread over all labels (Szegedy et al. 2016); softmax only.
    scorer (Optional[Callable]): The scorer.
    RETURNS (TransferTagger): The component.
    """
    return TransferTagger(
        nlp.vocab,
        model,
        name,
        attribute=attribute,
        overwrite=overwrite,
        label_smoothing=label_smoothing,
        scorer=scorer,
    )


class TransferTagger(TokenPipe):
    """A tag for every token; see `make_tagger`. Tokens without a tag are never trained on."""

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "transfer_tagger",
        *,
        attribute: Attribute = "tag",
        overwrite: bool = False,
        label_smoothing: float = 0.0,
        scorer: Callable | None = None,
    ) -> None:
        super().__init__(vocab, model, name, scorer=scorer)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(Errors.T301.format(name=name, found=label_smoothing))
        if label_smoothing and TokenAttrs.of(model).decoder == "crf":
            raise ValueError(Errors.T336.format(name=name, found=label_smoothing))
        self.attribute = attribute
        self.overwrite = overwrite
        self.label_smoothing = label_smoothing
        self.what = f"a token with a {attribute}"

    @property
    def label_ids(self) -> Ints:
        """RETURNS (Array): spaCy's value of the attribute for each label, uint64, shape (n_labels,)."""
        if self.attribute == "pos":
            return numpy.array([POS_IDS[label] for label in self.labels], dtype="uint64")
        return super().label_ids

    def check_label(self, label: str) -> None:
        """RAISES (ValueError): When `token.pos_` does not take a label."""
        if self.attribute == "pos" and (not label or label not in POS_IDS):
            raise ValueError(Errors.T337.format(name=self.name, label=label, labels=sorted(filter(None, POS_IDS))))

    def predict(self, docs: Iterable[Doc]) -> Ints:
        """Find the tags.

        docs (Iterable[Doc]): The docs.
        RETURNS (Array): Indices of labels, doc after doc, shape (n_tokens,), on the CPU.
        """
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return numpy.zeros(0, dtype="int64")
        return self._decode(self.scores_of(docs))

    def _decode(self, scores: TokenScores) -> Ints:
        logits = self.model.ops.to_numpy(scores.logits)
        if scores.transitions is None:
            return logits.argmax(axis=1)
        return viterbi(logits, scores.lengths, self.transitions(scores, self.allowed))

    def decisions(self, examples: Iterable[Example]) -> TagDecisions:
        """The decisions about texts, for `heads.calibration`."""
        examples = [eg for eg in self.own_examples(lambda: examples)() if len(eg.predicted)]
        if not examples:
            none = numpy.zeros(0, dtype="int64")
            return TagDecisions(numpy.zeros((0, len(self.labels))), none, None, none, none)
        scores = self.scores_of([eg.predicted for eg in examples])
        between = None if scores.transitions is None else self.transitions(scores, self.allowed)
        golds = self.index_labels(self._gold_ids(examples), ())
        return TagDecisions(
            self.model.ops.to_numpy(scores.logits), scores.lengths, between, self._decode(scores), golds
        )

    def set_annotations(self, docs: Iterable[Doc], scores: Ints) -> None:
        """Write the tags.

        docs (Iterable[Doc]): The docs.
        scores (Array): What `predict` found.
        """
        ids, name, begin = self.label_ids[scores], self.attribute.upper(), 0
        for doc in docs:
            values = ids[begin : begin + len(doc)]
            begin += len(doc)
            if not len(doc):
                continue
            if not self.overwrite:
                before = doc.to_array(name)
                values = numpy.where(before == 0, values, before)
            write_attributes(doc, [name], values)

    def gold_loss(self, examples: Sequence[Example], scores: TokenScores) -> tuple[float, TokenScores]:
        """Summed loss of a batch, and its gradient."""
        mask, logits = self.gold_mask(examples), self.model.ops.to_numpy(scores.logits)
        if scores.transitions is not None:
            transitions = self.transitions(scores, self.allowed)
            loss, d_logits, d_transitions = crf_loss(logits, scores.lengths, transitions, mask)
            return loss, self.gradient(scores, d_logits, d_transitions)
        loss, d_logits = softmax_loss(logits, mask)
        if self.label_smoothing:
            known = numpy.flatnonzero(mask.sum(axis=1) == 1)
            loss = self._smooth(logits[known], mask[known], known, d_logits)
        return loss, self.gradient(scores, d_logits, None)

    def _smooth(self, logits: Floats, mask: Bools, known: Ints, d_logits: Floats) -> float:
        """Cross-entropy with smoothed targets. Its gradient replaces that of the known tokens."""
        shifted = logits - logits.max(axis=1, keepdims=True, initial=-numpy.inf)
        logs = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
        targets = mask * (1.0 - self.label_smoothing) + self.label_smoothing / mask.shape[1]
        d_logits[known] = numpy.exp(logs) - targets
        return float(-(targets * logs).sum())

    def gold_mask(self, examples: Sequence[Example]) -> Bools:
        """RETURNS (Array): Which tags the references allow each token: all where it has none, or its parts have
        several. Shape (n_tokens, n_tags)."""
        gold = self.index_labels(self._gold_ids(examples), examples)
        mask: Bools = (gold[:, None] < 0) | (gold[:, None] == numpy.arange(len(self.labels)))
        return mask

    def _gold_ids(self, examples: Sequence[Example]) -> Ints:
        name, parts = self.attribute.upper(), []
        for example in examples:
            if same_tokens(example):
                parts.append(example.reference.to_array(name))
            else:
                values = [value or 0 for value in example.get_aligned(name)]
                parts.append(numpy.array(values, dtype="uint64"))
        return numpy.concatenate(parts)

    def count_labels(self, examples: Iterable[Example]) -> dict[str, int]:
        """RETURNS (Dict[str, int]): How often each label is in the references of examples."""
        found = Counter[str]()
        for example in examples:
            # The strings of examples may be another pipeline's.
            strings, values = example.reference.vocab.strings, example.reference.to_array(self.attribute.upper())
            found.update(strings[value] for value in values.tolist() if value)
        return dict(found)

    def score(self, examples: Iterable[Example], **kwargs: object) -> dict[str, object]:
        """RETURNS (Dict[str, object]): The scorer's, and `pos_acc` where parts of speech are learned."""
        examples = list(examples)
        own = {"attribute": self.attribute, "decisions": self._written, "temperature": self.temperature}
        scores = super().score(examples, **own, **kwargs)
        if self.attribute == "pos" and self.scorer is not None:
            scores = {**scores, **Scorer.score_token_attr(examples, "pos")}
        return scores

    def _written(self, examples: Iterable[Example]) -> TagDecisions | None:
        """For the scorer: decisions about tokens with the predicted tag. No doc keeps the probability of a tag, so the
        head runs again; None where the rows of the backbone are gone."""
        examples = [eg for eg in examples if len(eg.predicted)]
        is_ready = self.model.get_ref("output").has_param("W")
        if not is_ready or not has_rows(self.model, [eg.predicted for eg in examples]):
            return None
        found = self.decisions(examples)
        own = self.own_examples(lambda: examples)()
        written = [eg.predicted.to_array(self.attribute.upper()) for eg in own]
        if written:
            found.golds = numpy.where(self.label_ids[found.tags] == numpy.concatenate(written), found.golds, -1)
        return found
