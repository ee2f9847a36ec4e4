"""`python -m spacy transfer to-source CONFIG FILE OUT`: a pretrained file as a source of backbones."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..app import command
from ..common import OVERRIDES, CodePath, ConfigPath, UseGpu, existing, read_config


@command("to-source", context_settings=OVERRIDES)
def to_source_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What 'spacy pretrain' wrote, such as model-last.bin", callback=existing),
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that does not exist yet")],
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Write a pretrained backbone as a source: for --paths.backbone of any config, for a colleague, for a hub.

    A transformer becomes a folder that transformers' AutoModel loads (adapters are merged), and AutoModelForMaskedLM,
    where it was pretrained by masked words. Any other backbone becomes a spaCy pipeline. CONFIG is that of the
    pretraining; override its settings as with 'spacy pretrain'.
    """
    from ...pretraining.to_source import write_source

    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    architecture = write_source(config, file, output_path)
    msg.good(f"Saved {file} to {output_path}, a source for {architecture}")
