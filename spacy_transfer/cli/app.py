"""`python -m spacy transfer ...`: the group that the commands of this floor hang on, one command a file.

spaCy imports what the entry-point group `spacy_cli` names before it parses a command line; each command's file is
named there, and importing it puts the command in its place.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer
from spacy.cli import app
from spacy.util import registry
from typer.core import TyperCommand

from .._compat import spacy_cli_parts
from ..errors import Warnings
from ..ranks.own_gpu import take_own_gpu
from .voice import Json, Quiet, speaking, warn

CommandT = TypeVar("CommandT", bound=Callable[..., None])
SCRIPT = "spacy-transfer"

transfer_cli = typer.Typer(
    name="transfer",
    help="Transfer learning: fit, tune and report on pipelines with pretrained encoders. Begin with a file of labelled "
    "rows: python -m spacy transfer init reviews.csv. Exit codes: 0 done, 1 failed, 2 wrong usage.",
    no_args_is_help=True,
    rich_markup_mode=None,  # As spaCy's own, so that both names print the same help.
    pretty_exceptions_enable=False,
)
app.add_typer(transfer_cli)
take_own_gpu()  # This file is read before any command of spaCy chooses a device.

# For each command: its line in the list of commands, which has room for 58 characters, and an example.
ABOUT = {
    "affinity": ("Measure which tasks help or harm which", "affinity CONFIG --paths.train train.spacy -o affinity"),
    "annotate": ("Annotate many texts, whole or not at all", "annotate training/model-best texts.jsonl annotated"),
    "assess": ("Print the held-out loss of a pretraining", "assess pretrain.cfg pretrained/model-last.bin"),
    "calibrate": ("Make the scores of heads match how often they are right", "calibrate model dev.spacy -o calibrated"),
    "debug transfer": (
        "Show what a training would move, and what is known to fail",
        "transfer CONFIG --paths.train train.spacy --paths.dev dev.spacy",
    ),
    "config": ("Print a config for a task, an encoder and a tuning", "config --task ner -o ner.cfg"),
    "delta": ("Save a pipeline without the weights of its base", "delta training/model-best small"),
    "fit": ("Solve classifiers in seconds, without training", "fit CONFIG model --paths.train train.spacy"),
    "from-hf": ("Make a pipeline of a transformers classifier", "from-hf checkpoint model"),
    "graft": ("Join the heads of several pipelines on one backbone", "graft base tagger ner joined"),
    "init": ("Make a project of labelled data: CSV, JSONL, CoNLL", "init reviews.csv"),
    "lr-find": ("Find a learning rate", "lr-find CONFIG --paths.train train.spacy"),
    "new-transformer": ("Make a transformer with random weights", "new-transformer texts.txt encoder --layers 4"),
    "report": ("Write a page on how good a pipeline is", "report training/model-best dev.spacy report.html"),
    "retention": ("Score what a pipeline has forgotten", "retention old new old_dev.spacy"),
    "select": ("Rank backbones for a config, on its own data", "select CONFIG -b package:NAME/path -b en_core_web_md"),
    "speed-up": ("Find the fastest way to run a pipeline here", "speed-up training/model-best dev.spacy fast"),
    "static": ("Make word vectors of an encoder", "static package:NAME/path vectors --corpus texts.txt"),
    "suggest": ("Choose the texts to label next", "suggest model texts.jsonl -n 50 -o next.jsonl"),
    "to-hf": ("Write a classifier for transformers", "to-hf training/model-best checkpoint"),
    "to-source": (
        "Write a pretrained backbone as a source",
        "to-source pretrain.cfg pretrained/model-last.bin encoder",
    ),
    "tune": ("Search the settings of a config", "tune CONFIG configs/spaces/frozen_head.cfg -o search --trials 30"),
    "vectors": ("Train word vectors on raw texts", "vectors texts.txt vectors.bin --width 100"),
}


# Names of options that are no longer used, by command, with what stands for them now. They are still understood.
OLD_OPTIONS = {
    "affinity": {"--backbone": "--component"},
    "annotate": {"--text-field": "--text", "--id-field": "--id", "-b": "--batch-size", "-n": "--n-process"},
    "debug transfer": {"--labels": "--count-labels", "--no-labels": "--no-count-labels"},
    "delta": {"-b": "--base"},
    "graft": {"--name": "--rename", "-t": "--take"},
    "report": {"-n": "--resamples", "-m": "--mistakes"},
    "retention": {"--output": "--json", "-o": "--json"},
    "tune": {"-n": "--trials", "-m": "--minutes"},
    "vectors": {"--field": "--text"},
}


class Command(TyperCommand):
    """A command that understands old names of its options, and `--json` without a file."""

    old_options: Mapping[str, str] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        new = []
        for i, arg in enumerate(args):
            name, equals, value = arg.partition("=")
            now = self.old_options.get(name)
            if now is not None:
                warn(Warnings.W480.format(old=name, new=now))
            new.append(arg if now is None else f"{now}{equals}{value}")
            following = args[i + 1] if i + 1 < len(args) else "--"
            if new[-1] == "--json" and following.startswith("-") and following != "-":
                new.append("-")
        return super().parse_args(ctx, new)


def command(name: str, *, table: bool = False, **settings: Any) -> Callable[[CommandT], CommandT]:
    """A decorator for the function of a command: it hangs the command on its group, gives it `--quiet`, and turns a
    user's mistakes into one line and exit code 1.

    name (str): Its name, which has a line in `ABOUT`.
    table (bool): Whether it prints a table, or counts: it takes `--json` then, and keeps the numbers by `voice.result`.
    settings (Any): Of `typer.Typer.command`.
    RETURNS (Callable): The decorator.
    """
    short, example = ABOUT[name]
    is_debug = name.startswith("debug ")
    group = spacy_cli_parts().debug_cli if is_debug else transfer_cli
    epilog = f"Example: python -m spacy {'debug' if is_debug else 'transfer'} {example}"
    kind = type("Command", (Command,), {"old_options": OLD_OPTIONS.get(name, {})})

    def decorate(function: CommandT) -> CommandT:
        register = group.command(name.removeprefix("debug "), cls=kind, short_help=short, epilog=epilog, **settings)
        register(_with_voice(function, table=table))
        return function

    return decorate


def _with_voice(function: Callable[..., None], *, table: bool) -> Callable[..., None]:
    """RETURNS (Callable): The function with the options of the voice, at the end of its own."""
    own = inspect.signature(function)
    kinds = {"json_path": (Json, None)} if table else {}
    more = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for key, (annotation, default) in {**kinds, "quiet": (Quiet, False)}.items()
    ]

    @functools.wraps(function)
    def run(*args: Any, quiet: bool = False, json_path: Path | None = None, **values: Any) -> None:
        with speaking(quiet, json_path):
            function(*args, **values)

    signature = own.replace(parameters=[*own.parameters.values(), *more])
    annotations = {**function.__annotations__, **{parameter.name: parameter.annotation for parameter in more}}
    run.__signature__, run.__annotations__ = signature, annotations  # type: ignore[attr-defined]
    return run


def main() -> None:
    """The script `spacy-transfer`: the commands under a name of their own, which shells can complete."""
    registry.cli.get_all()
    transfer_cli(prog_name=SCRIPT)
