"""`python -m spacy transfer new-transformer TEXTS OUT`: a small BERT with random weights, to be pretrained."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..app import command
from ..common import existing, show_table
from ..voice import result


@command("new-transformer", table=True)
def new_transformer_cli(
    texts: Annotated[
        Path,
        typer.Argument(
            metavar="TEXTS", help="Raw texts: .txt, .jsonl, .spacy, or a folder of them; .gz too", callback=existing
        ),
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that does not exist yet")],
    width: Annotated[int, typer.Option("--width", help="Width of the rows", min=1)] = 256,
    layers: Annotated[int, typer.Option("--layers", help="Number of layers", min=1)] = 4,
    heads: Annotated[int, typer.Option("--heads", help="Attention heads; they divide the width", min=1)] = 4,
    vocab_size: Annotated[int, typer.Option("--vocab-size", help="Number of word pieces")] = 8000,
    window: Annotated[int, typer.Option("--window", "-w", help="Word pieces it can read at once", min=8)] = 128,
    lower: Annotated[bool, typer.Option("--lower/--no-lower", help="Lower-case the texts; accents are kept")] = True,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random weights")] = 0,
) -> None:
    """
    Make a transformer for a language or a field that has none: BERT with random weights, and a WordPiece tokenizer
    trained on your texts.

    Its rows mean nothing before it is pretrained by 'spacy pretrain'. OUT is a source of TransformerBackbone.v1
    ('source = "OUT"'; its window there must not be larger), and transformers loads it too. The same texts,
    options and seed give the same files.
    """
    from ...corpora.texts import read_texts
    from ...pretraining.random_transformer import NewTransformer, write_transformer

    settings = NewTransformer(width, layers, heads, vocab_size, window, lower, seed)
    made = write_transformer(lambda: read_texts(texts, "TEXTS"), output_path, settings)
    rows = [
        ("vocabulary", f"{made['vocabulary']:,} word pieces"),
        ("encoder", f"{layers} layers of width {width}, {heads} heads, window {window}"),
        ("parameters", f"{made['parameters']:,}"),
        ("size", f"{made['bytes'] / 1e6:.1f} MB"),
    ]
    result(**made)
    show_table(rows)
    msg.good(f"Saved the transformer, which is not trained yet, to {output_path}")
