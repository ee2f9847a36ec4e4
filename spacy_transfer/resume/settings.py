"""The settings of Resume.v1, and what hangs on them alone."""

import logging
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from ..errors import Errors, Warnings
from .agreement import Agreement
from .changes import as_lines
from .checkpoints import Checkpoint

logger = logging.getLogger("spacy")


@dataclass(frozen=True)
class Settings:
    """See `create_resume_v1`."""

    path: str | None
    every_steps: int
    minutes: float
    despite_changes: bool

    def folder(self, output: Path | None) -> Path:
        """RETURNS (Path): Where the checkpoints are.

        RAISES (ValueError): When there is neither an output folder nor a path.
        """
        if self.path is not None:
            return Path(self.path)
        if output is None:
            raise ValueError(Errors.T944)
        return output / "checkpoints"

    def is_due(self, ranks: Agreement, n_steps: int, written: float) -> bool:
        """RETURNS (bool): Whether a checkpoint is to be written.

        n_steps (int): How many steps have been made.
        written (float): When the last one was written, by `monotonic`.
        """
        if self.every_steps and n_steps % self.every_steps == 0:
            return True
        return bool(self.minutes) and ranks.on_time(monotonic() - written >= 60 * self.minutes)

    def refuse(self, changes: list[str], found: Checkpoint) -> None:
        """Do not go on where something has changed, unless told to.

        RAISES (ValueError): With what has changed.
        """
        if changes and not self.despite_changes:
            raise ValueError(Errors.T940.format(path=found.path, changes=as_lines(changes)))
        if changes:
            logger.warning(Warnings.W941.format(path=found.path, changes=as_lines(changes)))
