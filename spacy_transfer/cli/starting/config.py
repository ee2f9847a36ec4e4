"""`python -m spacy transfer config`: a config for a task, a backbone and a kind of training."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from wasabi import msg

from ...errors import Errors, WrongUsage
from ...integrity import write_whole
from ..app import command
from ..common import language, one_of
from ..voice import give

if TYPE_CHECKING:
    from ...starting.recipe import Recipe

TASKS = ("textcat", "multilabel", "ner", "spancat", "tagger", "regression")
TUNINGS = ("frozen", "lpft", "fine-tuning", "lora", "gradual", "contrastive")
KINDS = ("transformer", "vectors", "pipeline", "fresh", "imported")
HEADS, CONTEXTS = ("transfer", "spacy"), ("cnn", "bilstm")


@command("config")
def config_cli(
    task: Annotated[
        str, typer.Option("--task", "-t", help=f"One of: {', '.join(TASKS)}", callback=one_of(*TASKS))
    ] = "textcat",
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="Folder, hub id, package or pipeline (default: MiniLM)")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help=f"What the backbone is, where it is not seen: {', '.join(KINDS)}", callback=one_of(*KINDS)
        ),
    ] = None,
    tuning: Annotated[
        str | None,
        typer.Option(
            "--tuning", help=f"What is trained of a transformer: {', '.join(TUNINGS)}", callback=one_of(*TUNINGS)
        ),
    ] = None,
    head: Annotated[
        str, typer.Option("--head", help="transfer, or spacy for spaCy's own ner or tagger", callback=one_of(*HEADS))
    ] = "transfer",
    context: Annotated[
        str | None, typer.Option("--context", help="Layers over vectors: cnn, bilstm", callback=one_of(*CONTEXTS))
    ] = None,
    lang: Annotated[str, typer.Option("--lang", "-l", help="Code of the language", callback=language)] = "en",
    pairs: Annotated[bool, typer.Option("--pairs", help='Texts are pairs, with "[SEP]" between them')] = False,
    exportable: Annotated[
        bool, typer.Option("--exportable", help="With the head that transformers has, so that to-hf can write it")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file in place of the screen")] = None,
) -> None:
    """
    Print a complete config for `spacy train`: for a task, a backbone, and what is trained of it.
    """
    text = config_text(
        task=task,
        backbone=backbone,
        kind=kind,
        tuning=tuning,
        head=head,
        context=context,
        lang=lang,
        pairs=pairs,
        exportable=exportable,
    )
    if output is None:
        give(text)
        return
    if not output.resolve().parent.is_dir():
        raise WrongUsage(Errors.T721.format(path=output))
    write_whole(output, f"{text}\n".encode())
    msg.good(
        f"Wrote {output}", f"python -m spacy train {output} --paths.train train.spacy --paths.dev dev.spacy -o out"
    )


def config_text(*, exportable: bool = False, **options: Any) -> str:
    """RETURNS (str): The config that the options stand for; each as in the command.

    exportable (bool): With a head that `to_hf` can write.
    options (Any): Those of `recipe_of`.
    RAISES (ValueError): When they do not go together.
    """
    from ...huggingface.exportable import make_exportable
    from ...starting.config_blocks import make_config

    if exportable and options.get("tuning") is None:
        options["tuning"] = "fine-tuning"
    recipe = replace(recipe_of(**options), exportable=exportable)
    config = make_config(recipe)
    return (make_exportable(config, recipe.source, recipe.component) if exportable else config).to_str()


def recipe_of(
    *,
    task: str = "textcat",
    backbone: str | None = None,
    kind: str | None = None,
    tuning: str | None = None,
    head: str = "transfer",
    context: str | None = None,
    lang: str = "en",
    pairs: bool = False,
) -> "Recipe":
    """RETURNS (Recipe): What the options of the command stand for; what is None follows from the others."""
    from ...starting.recipe import (
        DEFAULT_BACKBONE,
        WINDOW,
        Context,
        Head,
        Kind,
        Recipe,
        Task,
        Tuning,
        default_tuning,
        kind_of,
    )

    source = backbone or DEFAULT_BACKBONE
    known_task = cast(Task, task)
    found = cast(Kind, kind or (kind_of(source) if backbone else "transformer"))
    return Recipe(
        known_task,
        source,
        found,
        cast(Tuning, tuning or default_tuning(known_task, found)),
        cast(Head, head),
        cast(Context | None, context),
        lang,
        window=_window(source) if backbone and found == "transformer" else WINDOW,
        pairs=pairs,
    )


def _window(source: str) -> int:
    """RETURNS (int): `longest_window`; for an encoder that is not on this machine the usual one."""
    from ...starting.choice import longest_window
    from ...starting.recipe import WINDOW

    try:
        return longest_window(source)
    except (ValueError, OSError):
        return WINDOW
