"""`python -m spacy transfer config`: a config for a task, a backbone and a kind of training."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from wasabi import msg

from ...errors import Errors
from ...integrity import write_whole
from ..app import command
from ..voice import give

TASKS = ("textcat", "multilabel", "ner", "tagger", "regression")
TUNINGS = ("frozen", "lpft", "fine-tuning", "lora", "gradual", "contrastive")
KINDS = ("transformer", "vectors", "pipeline", "fresh", "imported")
HEADS, CONTEXTS = ("transfer", "spacy"), ("cnn", "bilstm")


def one_of(option: str, found: str | None, known: tuple[str, ...]) -> Any:
    """RETURNS (Optional[str]): What was found.

    RAISES (ValueError): When it is none of those that are known.
    """
    if option == "--task" and found in ("spancat", "spans"):
        raise ValueError(Errors.T481.format(option=option, found=found))
    if found is not None and found not in known:
        raise ValueError(Errors.T982.format(option=option, found=found, known=", ".join(known)))
    return found


@command("config")
def config_cli(
    task: Annotated[str, typer.Option("--task", "-t", help=f"One of: {', '.join(TASKS)}")] = "textcat",
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="Folder, hub id, package or pipeline (default: MiniLM)")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help=f"What the backbone is, where it is not seen: {', '.join(KINDS)}")
    ] = None,
    tuning: Annotated[
        str | None, typer.Option("--tuning", help=f"What is trained of a transformer: {', '.join(TUNINGS)}")
    ] = None,
    head: Annotated[str, typer.Option("--head", help="transfer, or spacy for spaCy's own ner or tagger")] = "transfer",
    context: Annotated[str | None, typer.Option("--context", help="Layers over vectors: cnn, bilstm")] = None,
    lang: Annotated[str, typer.Option("--lang", "-l", help="Code of the language")] = "en",
    pairs: Annotated[bool, typer.Option("--pairs", help='Texts are pairs, with "[SEP]" between them')] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file in place of the screen")] = None,
) -> None:
    """
    Print a complete config for `spacy train`: for a task, a backbone, and what is trained of it.
    """
    text = config_text(
        task=task, backbone=backbone, kind=kind, tuning=tuning, head=head, context=context, lang=lang, pairs=pairs
    )
    if output is None:
        give(text)
        return
    if not output.resolve().parent.is_dir():
        raise ValueError(Errors.T721.format(path=output))
    write_whole(output, f"{text}\n".encode())
    msg.good(
        f"Wrote {output}", f"python -m spacy train {output} --paths.train train.spacy --paths.dev dev.spacy -o out"
    )


def config_text(
    *,
    task: str = "textcat",
    backbone: str | None = None,
    kind: str | None = None,
    tuning: str | None = None,
    head: str = "transfer",
    context: str | None = None,
    lang: str = "en",
    pairs: bool = False,
) -> str:
    """RETURNS (str): The config that the options stand for; each as in the command.

    RAISES (ValueError): When an option is not known, or they do not go together.
    """
    from ...starting.config_blocks import make_config
    from ...starting.recipe import DEFAULT_BACKBONE, Recipe, Task, default_tuning, kind_of

    source = backbone or DEFAULT_BACKBONE
    known_task = cast(Task, one_of("--task", task, TASKS))
    found = one_of("--kind", kind, KINDS) or (kind_of(source) if backbone else "transformer")
    recipe = Recipe(
        known_task,
        source,
        found,
        one_of("--tuning", tuning, TUNINGS) or default_tuning(known_task, found),
        one_of("--head", head, HEADS),
        one_of("--context", context, CONTEXTS),
        lang,
        window=_window(source) if backbone and found == "transformer" else 128,
        pairs=pairs,
    )
    return make_config(recipe).to_str()


def _window(source: str) -> int:
    """RETURNS (int): As many word pieces as the encoder can read; 128 for one that is not on this machine."""
    from ...starting.choice import longest_window

    try:
        return longest_window(source)
    except (ValueError, OSError):
        return 128
