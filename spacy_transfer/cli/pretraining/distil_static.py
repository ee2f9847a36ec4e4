"""`python -m spacy transfer static SOURCE OUT --corpus TEXTS`: word vectors learned from an encoder."""

import enum
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ..app import command
from ..common import CodePath, UseGpu, existing, find_source, language, prepare, show_table
from ..voice import result

if TYPE_CHECKING:
    from ...pretraining.static_student import StaticStudent


class Document(str, enum.Enum):
    """The encoder's row of a text."""

    mean = "mean"
    cls = "cls"


@command("static", table=True)
def static_cli(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Encoder: a folder, package:NAME/path or hub id")],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that does not exist yet")],
    corpus: Annotated[
        Path,
        typer.Option(
            "--corpus",
            metavar="TEXTS",
            help="Raw texts: .txt (a line a text), .jsonl, .spacy, or a folder",
            callback=existing,
        ),
    ],
    width: Annotated[int, typer.Option(min=1, help="Numbers in a vector, at most the encoder's width")] = 256,
    min_count: Annotated[int, typer.Option(min=1, help="Words that come less often are made from word pieces")] = 2,
    sif: Annotated[
        float, typer.Option(min=0, max=1, help="A vector begins with the weight SIF / (SIF + share of tokens); 0: none")
    ] = 1e-3,
    strength: Annotated[float, typer.Option(help="How strongly vectors are held where they begin")] = 0.3,
    document: Annotated[
        Document, typer.Option(help="The encoder's row of a text: the mean of its states, or the first one's (cls)")
    ] = Document.mean,
    window: Annotated[int, typer.Option("--window", "-w", min=8, help="Word pieces that it reads at once")] = 128,
    lang: Annotated[
        str, typer.Option("--lang", "-l", help="Language whose tokenizer is used", callback=language)
    ] = "en",
    text_field: Annotated[str, typer.Option("--text", help="Key of the texts in .jsonl")] = "text",
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Make word vectors of an encoder: the mean of a text's vectors comes near to the encoder's row of the text. TEXTS
    have no labels; they are of the kind that the vectors will read.

    OUT is a source of 'spacy-transfer.VectorsBackbone.v1' (--paths.backbone OUT of the configs on vectors), and
    model2vec loads it too. It runs many times as fast as the encoder, and loses a few points: see
    docs/speed_and_size.md.
    """
    import spacy

    from ...corpora.texts import read_texts
    from ...pretraining.static_student import StaticSettings, make_static

    prepare(code_path, use_gpu)
    find_source(source)
    settings = StaticSettings(width, min_count, sif, strength, document.value, window)
    texts = read_texts(corpus, "--corpus", text_field)
    made = make_static(source, texts, spacy.blank(lang), output_path, settings, name=f"--corpus {corpus}")
    _show(made)
    msg.good(f"Saved {made.shape[0]:,} vectors of width {made.shape[1]} to {output_path}")


def _show(made: "StaticStudent") -> None:
    rows = [
        ("texts", f"{made.n_texts:,}"),
        ("tokens", f"{made.n_tokens:,}"),
        ("words with a vector of their own", f"{made.n_words:,} ({made.share:.1%} of the tokens)"),
        ("cosine with the encoder, held out", f"{made.before:.3f} at first, {made.after:.3f} in the end"),
        ("seconds", f"{made.seconds:.1f}"),
    ]
    result(**asdict(made))
    show_table(rows, aligns="lr")
