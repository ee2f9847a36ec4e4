"""`python -m spacy transfer vectors TEXTS OUT`: word vectors from raw texts, or existing ones carried on to them."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ..app import command
from ..common import existing, installed, language, show_table
from ..voice import log_info, result

if TYPE_CHECKING:
    from spacy.language import Language

    from ...pretraining.word_vectors import TrainedVectors

SHOWN = 8  # Words whose neighbours are shown.


class Method(str, enum.Enum):
    """By which word vectors are trained."""

    word2vec = "word2vec"
    fasttext = "fasttext"


class Algorithm(str, enum.Enum):
    """What is predicted: the context from a word, or a word from its context."""

    skipgram = "skipgram"
    cbow = "cbow"


@command("vectors", table=True)
def vectors_cli(
    texts_path: Annotated[
        Path,
        typer.Argument(
            metavar="TEXTS", help="Raw texts: .txt (a line a text), .jsonl, .spacy, or a folder", callback=existing
        ),
    ],
    output_path: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="File for the vectors (word2vec: .bin is binary, all else text)"),
    ],
    method: Annotated[
        Method, typer.Option(help="fasttext makes vectors for unseen words too, from their parts")
    ] = Method.word2vec,
    width: Annotated[
        int | None, typer.Option(min=1, help="Numbers in a vector; 100, or what --source has", show_default=False)
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Words on each side that count as context")] = 5,
    min_count: Annotated[int, typer.Option(min=1, help="Words that come less often get no vector")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts")] = 5,
    algorithm: Annotated[
        Algorithm, typer.Option(help="skipgram is better on few texts, cbow is faster")
    ] = Algorithm.skipgram,
    negative: Annotated[int, typer.Option(min=1, help="Random words that each word is told apart from")] = 5,
    buckets: Annotated[int, typer.Option(min=1, help="Rows for parts of words (fasttext)")] = 200_000,
    source: Annotated[
        str | None, typer.Option(help="Vectors to carry on: a file, a folder, package:NAME/path, or a pipeline")
    ] = None,
    freeze_known: Annotated[
        bool, typer.Option("--freeze-known/--move-known", help="Whether words of --source keep their vectors")
    ] = True,
    lang: Annotated[
        str, typer.Option("--lang", "-l", help="Language whose tokenizer is used", callback=language)
    ] = "en",
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A pipeline whose tokenizer is used, instead of that of --lang", callback=installed),
    ] = None,
    lower: Annotated[bool, typer.Option("--lower", help="Put all words into lower case")] = False,
    text_field: Annotated[str, typer.Option("--text", help="Key of the texts in .jsonl")] = "text",
    threads: Annotated[int, typer.Option(min=1, help="Faster; only with 1 the same seed gives the same file")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random")] = 0,
) -> None:
    """
    Train word vectors on raw texts by gensim, and write a file for [components.transfer_backbone.model] source of
    'spacy-transfer.VectorsBackbone.v1' (--paths.backbone OUT of the configs on vectors).

    With --source, vectors that exist are carried on: their words start from what they have, and words that only
    the texts have are placed by what stands around them. At the end the neighbours of frequent words are shown.
    """
    from ...corpora.texts import read_texts
    from ...pretraining.word_vectors import VectorSettings, train_word_vectors

    log_info()
    settings = VectorSettings(
        method=method.value,
        width=width,
        window=window,
        min_count=min_count,
        epochs=epochs,
        algorithm=algorithm.value,
        negative=negative,
        buckets=buckets,
        lower=lower,
        freeze_known=freeze_known,
        threads=threads,
        seed=seed,
    )
    nlp = _load(tokenizer, lang)
    texts = read_texts(texts_path, "TEXTS", text_field)
    trained = train_word_vectors(texts, nlp, output_path, settings, source=source, name=str(texts_path))
    result(tokens=trained.n_tokens, words=trained.n_rows, added=len(trained.added), seconds=trained.seconds)
    _show(trained, nlp, carried_on=source is not None)
    msg.good(f"Saved {trained.n_rows:,} vectors to {output_path}")


def _load(tokenizer: str | None, lang: str) -> "Language":
    import spacy

    from ...pipeline.labels.carry import load

    return spacy.blank(lang) if tokenizer is None else load(tokenizer, "--tokenizer")


def _show(trained: "TrainedVectors", nlp: "Language", *, carried_on: bool) -> None:
    vectors, added = trained.vectors, trained.added
    rows = [
        ("tokens", f"{trained.n_tokens:,}"),
        ("words", f"{len(vectors):,}"),
        *([("of these added", f"{len(added):,}")] if carried_on else []),
        ("seconds", f"{trained.seconds:.1f}"),
    ]
    show_table(rows, aligns="lr")
    # Neighbours of function words say little.
    telling = [word for word in added if word.isalpha() and not nlp.vocab[word].is_stop][:SHOWN] or added[:SHOWN]
    found = [(word, ", ".join(near for near, _ in vectors.most_similar(word, topn=5))) for word in telling]
    show_table(found, header=("added word" if carried_on else "word", "nearest"))
