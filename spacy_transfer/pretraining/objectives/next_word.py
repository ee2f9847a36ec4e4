"""NextWord.v1: predict the next word, and the one before (Peters et al. 2018)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model, get_torch_default_device

from ...backbones.context import CNNAttrs, ContextT, split_directions
from ...checks import COUNT, require
from ...corpora.raw_text import RawText
from ...errors import Errors
from ...types import BackboneT, Config
from ..objective import NOTHING, Measured, Objective, build_pretraining
from .word_masks import Ids

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .masked_rows import WordSoftmax

_CHUNK = 4096
"""The most predictions whose scores are in memory at once where no gradient is needed."""


def build_next_word_v1(
    *, n_words: int = 10000, adaptive_from: int = 5000, log: Path | None = None, progress: bool = True
) -> Callable[[Vocab, BackboneT], Model[list[Doc], Measured]]:
    """Predict the next word from each row: the negative log-likelihood of each. From a BiLSTM the forward half predicts
    the next word, and the backward half the one before, by one softmax over the most frequent words of the corpus
    (Peters et al. 2018).

    The backbone is a VectorsBackbone or a HashEmbedBackbone. Its context is `spacy-transfer.CNNContext.v1` with
    `causal = true`, or `spacy-transfer.BiLSTMContext.v1` with `depth = 1` or `mix_directions = false`: no other row is
    free of the word that is predicted.

    n_words (int): How many words are predicted.
    adaptive_from (int): From this many words on, an adaptive softmax (Grave et al. 2017). Every word is predicted, so
        a full one would take most of the time.
    log (Optional[Path]): A file to which each held-out loss is added, as a JSON object.
    progress (bool): Show a progress bar.
    RETURNS (Callable[[Vocab, Model], Model]): For `[pretraining.objective]`.
    """
    require("pretraining.objective", COUNT, n_words=n_words, adaptive_from=adaptive_from)

    def create(vocab: Vocab, tok2vec: BackboneT) -> Model[list[Doc], Measured]:
        return build_pretraining(NextWord(tok2vec, n_words, adaptive_from), log=log, progress=progress)

    return create


class NextWord(Objective):
    """The words beside each token, at the rows of a backbone that see one side only.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    n_words (int), adaptive_from (int): See `build_next_word_v1`.
    """

    name = "spacy-transfer.NextWord.v1"
    unit = "predicted word"

    def __init__(self, backbone: BackboneT, n_words: int, adaptive_from: int) -> None:
        super().__init__(backbone)
        self._context, self._is_causal = find_context(backbone)
        self._n_words, self._adaptive_from = n_words, adaptive_from

    def start(self, docs: list[Doc], reader: RawText | None) -> Config:
        """RETURNS (Dict[str, Any]): The words that are predicted."""
        from .masked_rows import frequent_words

        return {"words": frequent_words(reader, self._n_words, self.name)}

    def make_output(self, settings: Config) -> "nn.Module":
        """RETURNS (nn.Module): The softmax, one for both directions."""
        from .masked_rows import WordSoftmax

        width = self.backbone.get_dim("nO") // (1 if self._is_causal else 2)
        return WordSoftmax(width, settings["words"], self._adaptive_from).to(get_torch_default_device())

    def measure(
        self, docs: list[Doc], output: "nn.Module | None", draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        import torch

        from .masked_rows import gradient_of, leaf

        softmax = cast("WordSoftmax", output)
        targets = softmax.targets([token.text for doc in docs for token in doc])
        doc_of_token = numpy.repeat(numpy.arange(len(docs)), [len(doc) for doc in docs])
        steps = (-1,) if self._is_causal else (-1, 1)
        beside = [find_rows(targets, doc_of_token, step) for step in steps]
        count = sum(len(words) for _, words in beside)
        if not count:
            return NOTHING
        rows, back = self.backbone(docs, is_train)
        flat = leaf(self.backbone.ops.xp.concatenate(rows))
        with torch.set_grad_enabled(is_train):
            chosen = [half[_on(flat, at)] for half, (at, _) in zip(self._halves(flat), beside, strict=True)]
            wanted = _on(flat, numpy.concatenate([words for _, words in beside]))
            parts = zip(torch.cat(chosen).split(_CHUNK), wanted.split(_CHUNK), strict=True)
            loss = torch.stack([softmax(*part) * len(part[1]) for part in parts]).sum() / count

        def backprop() -> None:
            loss.backward()
            ends = numpy.cumsum([len(doc) for doc in docs])[:-1]
            back(self.backbone.ops.xp.split(gradient_of(flat), [int(end) for end in ends]))

        return Measured(loss.item() * count, count, backprop)

    def _halves(self, flat: "Tensor") -> "list[Tensor]":
        """The rows that predict the next word, and those that predict the one before, if there are any."""
        if self._is_causal:
            return [flat]
        (ahead,), (back,) = cast(Any, split_directions)(self._context, [flat])
        return [ahead, back]


def find_context(backbone: BackboneT) -> tuple[ContextT, bool]:
    """The layer of a backbone that reads tokens in their order, in one direction or in two that do not mix.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    RETURNS (Tuple[Model, bool]): The layer, and whether it is causal.
    RAISES (ValueError): When its rows see what would be predicted.
    """
    # What else stands in these backbones reads each token by itself.
    context: Any = backbone.layers[-1] if backbone.name in ("transfer_vectors", "transfer_hash_embed") else backbone
    if context.name == "transfer_cnn" and CNNAttrs.of(context).causal:
        return context, True
    try:
        split_directions(context, [])
    except ValueError as error:
        shown = ("causal", "depth", "mix_directions")
        found = {key: value for key, value in context.attrs.items() if key in shown}
        raise ValueError(Errors.T851.format(name=NextWord.name, layer=context.name, found=found)) from error
    return context, False


def find_rows(targets: Ids, doc_of_token: Ids, step: int) -> tuple[Ids, Ids]:
    """Pairs of a row and the word that it predicts.

    targets (NDArray[int64]): The word of each token, -1 for one that is not predicted, shape (n_tokens,).
    doc_of_token (NDArray[int64]): Ascending, shape (n_tokens,).
    step (int): From the predicted token to the row: -1 or 1.
    RETURNS (Tuple[NDArray[int64], NDArray[int64]]): Rows, and words.
    """
    tokens = numpy.flatnonzero(targets >= 0)
    rows = tokens + step
    tokens, rows = (ids[(rows >= 0) & (rows < len(targets))] for ids in (tokens, rows))
    is_same_doc = doc_of_token[rows] == doc_of_token[tokens]
    return rows[is_same_doc], targets[tokens[is_same_doc]]


def _on(rows: "Tensor", ids: Ids) -> "Tensor":
    """Ids on the device of the rows."""
    import torch

    return torch.from_numpy(ids).to(rows.device)
