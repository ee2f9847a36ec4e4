"""`python -m spacy transfer ...`: the group that the commands of this floor hang on, one command a file.

spaCy imports what the entry-point group `spacy_cli` names before it parses a command line; each command's file is
named there, and importing it puts the command in its place.
"""

import typer
from spacy.cli import app

from ..ranks.own_gpu import take_own_gpu

transfer_cli = typer.Typer(
    name="transfer",
    help="Transfer learning: fit, calibrate, join and report on heads, find a learning rate, compare tasks.",
    no_args_is_help=True,
)
app.add_typer(transfer_cli)
take_own_gpu()  # This file is read before any command of spaCy chooses a device.
