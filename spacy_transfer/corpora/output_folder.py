"""The output folder: `spacy train` deletes models in it as it begins."""

import sys
from pathlib import Path

from ..errors import Errors

CLEARED = ("model-best", "model-last")


def check_stays(source: str | Path, key: str) -> None:
    """Check that a training will not delete a pipeline: `spacy train` clears --output between initialisation and the
    first step. Components do not know that folder, so it is read from the command.

    key (str): Its key in the config, for messages.
    RAISES (ValueError): When the folder will be deleted.
    """
    output = _output(sys.argv)
    if output is None:
        return
    folder = Path(source).expanduser().resolve()
    if any(folder.is_relative_to(output.resolve() / name) for name in CLEARED):
        raise ValueError(Errors.T563.format(key=key, source=source, output=output))


def _output(command: list[str]) -> Path | None:
    if "train" not in command[1:2]:
        return None
    for i, word in enumerate(command):
        if word in ("-o", "--output") and i + 1 < len(command):
            return Path(command[i + 1])
        if word.startswith("--output="):
            return Path(word.partition("=")[2])
    return None
