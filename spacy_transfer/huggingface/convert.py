"""From and to transformers: a classifier's checkpoint as a trainable pipeline, and a component as a checkpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy
import spacy
from spacy.language import Language
from spacy.training import Example

from ..backbones.transformer.pretrained import Pretrained
from ..backbones.transformer.transformer_shim import TransformerShim, most_pieces
from ..heads.layers import StatesAttrs
from ..types import Floats, pipe_of
from .files import Checkpoint, read_checkpoint
from .state_dicts import fill_head
from .token_classifiers import add_token_head, docs_before, largest_of_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WINDOW = 512  # The most that an encoder is given at once, where it could read more.
BACKBONE = "transfer_backbone"


def from_hf(
    source: str,
    *,
    lang: str = "en",
    labels: Sequence[str] | None = None,
    window: int | None = None,
    task: str | None = None,
) -> Language:
    """A transformers checkpoint for sequence or token classification as a pipeline: backbone and head, with all of
    its weights, ready to predict, to be saved, and to be trained further.

    Its logits are the checkpoint's own for all texts that fit one window (of a token: those at its first word piece).
    Longer ones are read to their end, where transformers cuts them: in windows whose summaries are averaged, or each
    piece in the window where it has most context. (A classifier that averages, ModernBERT's with `classifier_pooling =
    "mean"`, has nothing to average here in a text without words; transformers averages its special tokens.)

    Entities are those of transformers' `pipeline("token-classification", aggregation_strategy="first")` wherever its
    words are spaCy's tokens: no run of tags is dropped, well-formed or not (`lenient = true` of `transfer_ner`). They
    may differ where its words are other ones: it takes what stands between punctuation for words (BERT's pieces), or
    what stands between spaces (byte-level BPE), while spaCy's tokenizer says what a token is here; of several of its
    words in one token the first decides, and a piece that two tokens share is read for both. An entity never begins or
    ends with white space, and tags other than B- and I- (BILUO, BIOES) are read as such, which transformers does not.
    Its scores are means over words, `ent._.confidence` is the probability of the whole entity.

    source (str): A folder that save_pretrained wrote, `package:NAME/path`, or a hub id.
    lang (str): Of the pipeline; its tokenizer says what a token is.
    labels (Optional[Sequence[str]]): Names of the output layer's rows in order, where the checkpoint has none, or
        to call them otherwise.
    window (Optional[int]): Word pieces that the encoder sees at once; None for all that it has positions for, and
        at most 512.
    task (Optional[str]): What a token classifier becomes, "ner" or "tagger"; None to tell by its labels.
    RETURNS (Language): `transfer_backbone`, and `transfer_textcat`, `transfer_textcat_multilabel`, `transfer_ner` or
        `transfer_tagger`.
    RAISES (ValueError): When there is no head, no head that is known here, or no proper list of labels.
    """
    return build(read_checkpoint(source, labels, task), lang=lang, window=window)


def build(checkpoint: Checkpoint, *, lang: str, window: int | None = None) -> Language:
    """The pipeline of a checkpoint that has been read; see `from_hf`.

    lang (str), window (Optional[int]): See `from_hf`.
    """
    nlp = spacy.blank(lang)
    most = most_pieces(cast("PreTrainedModel", checkpoint.model.base_model)) or WINDOW
    window = window or min(most, WINDOW)
    block = {
        "@architectures": "spacy-transfer.TransformerBackbone.v1",
        "source": checkpoint.source,
        "window": window,
        "overlap": min(16, window // 4),
        "max_batch_items": max(1024, window),
        "pooling": "first",
        "document": checkpoint.document if checkpoint.task == "sequence" else "mean",
        # As the checkpoint's own tokenizer does.
        "special_tokens": True,
    }
    nlp.add_pipe(BACKBONE, config={"model": block})
    if checkpoint.tags is None:
        _add_textcat(nlp, checkpoint)
    else:
        add_token_head(nlp, checkpoint, checkpoint.tags, BACKBONE)
    return nlp


def _add_textcat(nlp: Language, checkpoint: Checkpoint) -> None:
    name = "transfer_textcat_multilabel" if checkpoint.several else "transfer_textcat"
    hidden = [len(bias) for _, bias in checkpoint.head.layers[:-1]]
    model = {
        "@architectures": "spacy-transfer.TextCatHead.v1",
        "hidden": hidden,
        "activation": checkpoint.head.activation or "relu",
        "layer_norm": None if checkpoint.head.norm is None else checkpoint.head.norm[2],
        "exclusive_classes": not checkpoint.several,
        "tok2vec": {"@architectures": "spacy-transfer.DocumentListener.v1", "upstream": BACKBONE},
    }
    nlp.add_pipe(name, config={"model": model})
    cats = {label: float(i == 0) for i, label in enumerate(checkpoint.labels)}
    example = Example.from_dict(nlp.make_doc("a"), {"cats": cats})
    nlp.initialize(lambda: [example])
    pipe = pipe_of(nlp, name)
    fill_head(pipe.model, checkpoint.head)
    assert list(pipe.labels) == checkpoint.labels


def logits(nlp: Language, component: str, texts: Sequence[str]) -> Floats:
    """What the output layer of a text classifier says, before softmax or sigmoid.

    component (str): `transfer_textcat` or `transfer_textcat_multilabel`, by its name.
    RETURNS (Floats2d): Shape (n_texts, n_labels).
    """
    model, docs = pipe_of(nlp, component).model, docs_before(nlp, component, texts)
    states, _ = StatesAttrs.of(model).states(model, docs, False)
    return model.ops.to_numpy(model.get_ref("output").predict(states))


def largest_difference(
    nlp: Language, component: str, checkpoint: Checkpoint, texts: Sequence[str]
) -> tuple[float, int]:
    """How far a pipeline's logits are from those of the checkpoint that it was made of.

    texts (Sequence[str]): Texts; those that do not fit one window, or leave nothing to average, are left out.
    RETURNS (Tuple[float, int]): Over all texts and labels (not a number where one of the two is not), and how many
        texts there were.
    """
    shim = cast(TransformerShim, pipe_of(nlp, BACKBONE).model.shims[0])
    pretrained, window = cast(Pretrained, shim.pretrained), shim.settings.window
    budget = window - len(pretrained.prefix) - len(pretrained.suffix)
    encode = pretrained.tokenizer.encode
    # Of a text without pieces a backbone that averages reads nothing, while transformers averages special tokens.
    least = int(checkpoint.document == "mean")
    fit = [text for text in texts if least <= len(encode(text, add_special_tokens=False).ids) <= budget]
    if checkpoint.tags is not None:
        return largest_of_tokens(nlp, component, checkpoint, fit, window), len(fit)
    theirs = numpy.array(checkpoint.logits(fit, window))
    return float(numpy.abs(logits(nlp, component, fit) - theirs).max()), len(fit)
