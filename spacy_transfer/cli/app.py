"""`python -m spacy transfer ...`: the group that the commands of this floor hang on, one command a file.

spaCy imports what the entry-point group `spacy_cli` names before it parses a command line; each command's file is
named there, and importing it puts the command in its place.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from spacy.cli import app

from ..ranks.own_gpu import take_own_gpu

CommandT = TypeVar("CommandT", bound=Callable[..., None])

transfer_cli = typer.Typer(
    name="transfer",
    help="Transfer learning: fit, tune and report on pipelines with pretrained encoders. Exit codes: 0 done, 1 failed, "
    "2 wrong usage.",
    no_args_is_help=True,
)
app.add_typer(transfer_cli)
take_own_gpu()  # This file is read before any command of spaCy chooses a device.

# For each command: its line in the list of commands, which has room for 58 characters, and an example.
ABOUT = {
    "affinity": ("Measure which tasks help or harm which", "affinity CONFIG --paths.train train.spacy -o affinity"),
    "annotate": ("Annotate many texts, whole or not at all", "annotate training/model-best texts.jsonl annotated"),
    "assess": ("Print the held-out loss of a pretraining", "assess pretrain.cfg pretrained/model-last.bin"),
    "calibrate": ("Make the scores of heads match how often they are right", "calibrate model dev.spacy -o calibrated"),
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
    "tune": ("Search the settings of a config", "tune CONFIG configs/spaces/frozen_head.cfg -o search -n 30"),
    "vectors": ("Train word vectors on raw texts", "vectors texts.txt vectors.bin --width 100"),
}


def command(name: str, **settings: Any) -> Callable[[CommandT], CommandT]:
    """A decorator for the function of a command: it hangs the command on the group.

    name (str): Its name, which has a line in `ABOUT`.
    settings (Any): Of `typer.Typer.command`.
    RETURNS (Callable): The decorator.
    """
    short, example = ABOUT[name]
    epilog = f"Example: python -m spacy transfer {example}"
    return transfer_cli.command(name, short_help=short, epilog=epilog, **settings)
