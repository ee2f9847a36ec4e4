"""`python -m spacy transfer to-hf PIPELINE OUT`: a component of a pipeline as a folder that transformers loads."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..errors import Errors
from .app import command
from .common import CodePath, PipelineName, UseGpu, load_pipeline, prepare, replacing, warnings_in_one_line


@command("to-hf")
def to_hf_cli(
    pipeline: PipelineName,
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder; one that transformers wrote is replaced")],
    component: Annotated[
        str | None, typer.Option("--component", help="Name of the component; needed where there are several")
    ] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Write a classifier of texts or tokens and its encoder as transformers does: config, weights, tokenizer.

    Only what a class of transformers computes in the same way can be written; what is in the way is listed otherwise.
    """
    from ..huggingface.export import find_component, to_hf

    prepare(code_path, use_gpu)
    is_checkpoint = (output_path / "config.json").is_file()
    if output_path.exists() and not is_checkpoint and (output_path.is_file() or any(output_path.iterdir())):
        raise ValueError(Errors.T722.format(path=output_path))
    nlp = load_pipeline(pipeline)
    with warnings_in_one_line(), replacing(output_path) as new:
        to_hf(nlp, new, component)
    msg.good(f"Saved {find_component(nlp, component)!r} of {pipeline} for transformers to {output_path}")
