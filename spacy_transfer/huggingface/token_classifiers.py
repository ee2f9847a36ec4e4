"""Token classifiers of transformers as `transfer_ner` or `transfer_tagger`."""

from collections.abc import Sequence
from typing import cast

import numpy
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..backbones.transformer.alignment import align, token_spans
from ..pipeline.heads.tokens import TokenPipe
from ..types import Floats, Ints, pipe_of
from .files import Checkpoint
from .state_dicts import fill_head
from .tags import TagRows, arrange_rows


def add_token_head(nlp: Language, checkpoint: Checkpoint, tags: TagRows, backbone: str) -> None:
    """Add the component that a token classifier becomes, initialised, with its weights."""
    model = {
        "@architectures": "spacy-transfer.TokenHead.v1",
        "decoder": "softmax",
        "tok2vec": {"@architectures": "spacy-transfer.Listener.v1", "upstream": backbone},
    }
    settings = {"scheme": tags.scheme, "lenient": True} if tags.task == "ner" else {"attribute": tags.attribute}
    pipe = cast(TokenPipe, nlp.add_pipe(f"transfer_{tags.task}", config={"model": model, **settings}))
    for label in tags.labels:
        pipe.add_label(label)
    example = _with_all_labels(nlp, tags)
    nlp.initialize(lambda: [example])
    fill_head(pipe.model, arrange_rows(checkpoint.head, tags))
    assert list(pipe.labels) == tags.labels


def _with_all_labels(nlp: Language, tags: TagRows) -> Example:
    words = ["a"] * len(tags.labels)
    if tags.task == "tagger":
        labels = {tags.attribute: tags.labels}
        doc = Doc(nlp.vocab, words=words, tags=labels.get("tag"), pos=labels.get("pos"))
    else:
        doc = Doc(nlp.vocab, words=words)
        doc.set_ents([Span(doc, i, i + 1, label) for i, label in enumerate(tags.labels)])
    return Example(Doc(nlp.vocab, words=words), doc)


def docs_before(nlp: Language, component: str, texts: Sequence[str]) -> list[Doc]:
    """RETURNS (List[Doc]): The docs of texts, after the components before this one."""
    docs = [nlp.make_doc(text) for text in texts]
    for name, pipe in nlp.pipeline:
        if name == component:
            break
        docs = list(cast(TrainablePipe, pipe).pipe(docs))
    return docs


def token_logits(nlp: Language, component: str, texts: Sequence[str]) -> list[Floats]:
    """What the output layer of a token head says.

    component (str): `transfer_ner` or `transfer_tagger`, by its name.
    RETURNS (List[Floats2d]): For every text, shape (n_tokens, n_tags).
    """
    model, docs = pipe_of(nlp, component).model, docs_before(nlp, component, texts)
    scores = model.predict(docs)
    logits = model.ops.to_numpy(scores.logits)
    return numpy.split(logits, numpy.cumsum(scores.lengths)[:-1]) if docs else []


def largest_of_tokens(
    nlp: Language, component: str, checkpoint: Checkpoint, texts: Sequence[str], window: int
) -> float:
    """How far logits are from transformers' at the first pieces of tokens, in the rows that the checkpoint has.

    RETURNS (float): Over all texts, tokens and labels.
    """
    assert checkpoint.tags is not None
    ours, theirs = checkpoint.tags.kept, numpy.array(checkpoint.tags.rows)[checkpoint.tags.kept]
    largest = 0.0
    outputs = checkpoint.outputs(texts, window)
    for text, logits, (at_pieces, offsets) in zip(texts, token_logits(nlp, component, texts), outputs, strict=True):
        tokens, pieces = first_pieces(nlp.make_doc(text), offsets)
        differences = numpy.abs(logits[tokens][:, ours] - at_pieces[pieces][:, theirs])
        # NaN must not count as 0.
        largest = float(numpy.maximum(largest, differences.max(initial=0.0)))
    return largest


def first_pieces(doc: Doc, offsets: Ints) -> tuple[Ints, Ints]:
    """Which tokens have word pieces, and the first of each.

    offsets (Ints2d): The characters where each piece begins and ends, shape (n_pieces, 2).
    RETURNS (Tuple[Array, Array]): Indices of tokens and of pieces.
    """
    begin, end, _ = token_spans([doc])
    begins, ends = numpy.asarray(offsets, "int64").T
    alignment = align(begin, end, begins, ends, "first")
    counts = numpy.diff(numpy.append(alignment.offsets, len(alignment.pieces)))
    return numpy.flatnonzero(counts), alignment.pieces
