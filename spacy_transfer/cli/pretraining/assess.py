"""`python -m spacy transfer assess CONFIG [FILE ...]`: the held-out loss before and after a pretraining."""

from pathlib import Path
from typing import Annotated

import typer

from ..app import command
from ..common import OVERRIDES, CodePath, ConfigPath, UseGpu, existing, read_config
from ..voice import result


@command("assess", table=True, context_settings=OVERRIDES)
def assess_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="What 'spacy pretrain' wrote, such as model-last.bin")
    ] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Print the held-out loss of the source as it comes, and of each pretrained FILE, with the perplexity where the loss
    is a negative log-likelihood.

    CONFIG is that of the pretraining; its held-out texts and masks are used. Override settings as with
    'spacy pretrain': --paths.raw_text texts.txt
    """
    from ...pretraining.assess import assess

    paths, overrides = split_overrides([*(files or ()), *ctx.args])
    paths = [existing(path) for path in paths]
    config = read_config(config_path, overrides, code=code_path, use_gpu=use_gpu)
    found = assess(config, paths)
    result(**found.as_dict())
    print(f"\n{found.as_text()}\n")  # noqa: T201


def split_overrides(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """RETURNS (Tuple[List[Path], List[str]]): Files, and overrides of the config, which click takes for files too."""
    paths, overrides, rest = list[Path](), list[str](), iter(arguments)
    for argument in rest:
        if not argument.startswith("--"):
            paths.append(Path(argument))
            continue
        overrides.append(argument)
        value = None if "=" in argument else next(rest, None)
        overrides += [] if value is None else [value]
    return paths, overrides
