"""`transfer_rows`: a backbone learns the rows of another one. The component is for training alone."""

from collections.abc import Callable, Iterable, Sequence

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ...backbones.listeners import name_head
from ...errors import Errors
from ...heads.soft_losses import row_loss
from ...heads.tagging.tokens import TokenAttrs, TokenScores
from ...types import Config as Settings
from ...types import GetExamples, Ints
from .base import Head
from .distillation import SoftTargets, answers_to, check_kind, check_tokens
from .tokens import DEFAULT_MODEL

_MODEL = {**Config().from_str(DEFAULT_MODEL)["model"], "decoder": "softmax"}


@Language.factory(
    "transfer_rows", assigns=[], requires=["doc.tensor"], default_config={"model": _MODEL, "scorer": None}
)
def make_rows(
    nlp: Language, name: str, model: Model[list[Doc], TokenScores], scorer: Callable | None
) -> "TransferRows":
    """Construct a component that matches rows of tokens with those of a teacher, through a projection (Romero et al.
    2015). It writes nothing and costs nothing at prediction; `spacy-transfer.LeaveOut.v1` leaves it out of what is
    saved.

    model (Model[List[Doc], TokenScores]): The projection: `spacy-transfer.TokenHead.v1` with the decoder "softmax", of
        which only the numbers before the softmax count. Without hidden layers it is linear.
    scorer (Optional[Callable]): Not used.
    RETURNS (TransferRows): The component.
    """
    return TransferRows(nlp.vocab, model, name)


class TransferRows(Head[TokenScores]):
    """A head that learns the rows of a teacher (`spacy-transfer.Teacher.v1`); see `make_rows`."""

    takes_soft = "rows"

    def __init__(self, vocab: Vocab, model: Model, name: str = "transfer_rows") -> None:
        if TokenAttrs.of(model).decoder != "softmax":
            raise ValueError(Errors.T338.format(name=name, found=model.name))
        self.vocab, self.model, self.name = vocab, model, name
        name_head(model, name)
        self.cfg: Settings = {}

    def predict(self, docs: Iterable[Doc]) -> list[None]:
        """RETURNS (List[None]): Nothing."""
        return [None for _ in docs]

    def set_annotations(self, docs: Iterable[Doc], scores: list[None]) -> None:
        """Write nothing."""

    def has_rows(self, docs: Sequence[Doc]) -> bool:
        """RETURNS (bool): Whether any doc has a token."""
        return any(len(doc) for doc in docs)

    def n_rows(self, examples: Sequence[Example], scores: TokenScores) -> Ints:
        """RETURNS (Array): Tokens of each doc."""
        return scores.lengths

    def gold_loss(self, examples: Sequence[Example], scores: TokenScores) -> tuple[float, TokenScores]:
        """RETURNS (Tuple[float, TokenScores]): 0 and zeros: rows have no gold annotation."""
        return 0.0, TokenScores(self.model.ops.xp.zeros_like(scores.logits), scores.lengths, None)

    def soft_loss(
        self, examples: Sequence[Example], scores: TokenScores, targets: SoftTargets
    ) -> tuple[float, TokenScores]:
        """Squared error, the mean over each row, the sum over tokens. The teacher's temperature has no effect."""
        check_kind(self.name, targets, "rows")
        check_tokens(self.name, examples, targets)
        ops = self.model.ops
        wanted = ops.xp.concatenate([ops.xp.asarray(answer["rows"], dtype="f") for answer in targets.answers])
        if wanted.shape[1] != scores.logits.shape[1]:
            facts = {"found": wanted.shape[1], "wanted": scores.logits.shape[1]}
            raise ValueError(Errors.T432.format(name=self.name, **facts))
        loss, gradient = row_loss(ops.xp, scores.logits, wanted, ops.xp.ones(len(wanted), dtype="f"))
        return loss, TokenScores(gradient, scores.lengths, None)

    def initialize(self, get_examples: GetExamples, *, nlp: Language | None = None) -> None:
        """Build the projection, as wide as the teacher's rows.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        sample = []
        for example in self.own_examples(get_examples)():
            (answer,) = answers_to([example], self.name)
            sample = [example.reference]
            if answer is not None and "rows" in answer:
                self.model.initialize(X=sample, Y=self.model.ops.alloc2f(1, answer["rows"].shape[1]))
                return
        raise ValueError(Errors.T433.format(name=self.name))
