"""`python -m spacy transfer to-hf PIPELINE OUT`: a component of a pipeline as a folder that transformers loads."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import transfer_cli
from .common import errors_in_one_line, warnings_in_one_line


@transfer_cli.command("to-hf")
def to_hf_cli(
    pipeline: Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")],
    output_path: Annotated[Path, typer.Argument(help="Folder that does not exist yet")],
    component: Annotated[
        str | None, typer.Option("--component", help="Name of the component; needed where there are several")
    ] = None,
) -> None:
    """
    Write a classifier of texts or tokens and its encoder as transformers does: config, weights, tokenizer.

    Only what a class of transformers computes in the same way can be written; what is in the way is listed otherwise.
    """
    import spacy

    from ..huggingface.export import find_component, to_hf

    with errors_in_one_line():
        try:
            nlp = spacy.load(pipeline)
        except OSError as error:
            raise ValueError(str(error)) from error
        with warnings_in_one_line():
            to_hf(nlp, output_path, component)
    msg.good(f"Saved {find_component(nlp, component)!r} of {pipeline} for transformers to {output_path}")
