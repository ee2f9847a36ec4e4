"""Pipelines that `spacy train` saves, whole or not at all: model-best and model-last."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from spacy.language import Language

from ..types import Config
from .checkpoints import BEST
from .whole_folders import copy_folder, recover, write_folder

_LAST = "model-last"


class Saving:
    """Writes into the output folder of a training, except in a replay.

    output (Optional[Path]): The folder; without one nothing is saved.
    """

    def __init__(self, output: Path | None) -> None:
        self.output, self.is_replay = output, False

    @property
    def best(self) -> Path | None:
        """RETURNS (Optional[Path]): The best pipeline so far, if there is one."""
        path = None if self.output is None else self.output / BEST
        return path if path is not None and path.exists() else None

    def recover(self) -> None:
        """Clear up after a training that was killed while it wrote."""
        if self.output is not None and self.output.exists():
            for name in (BEST, _LAST):
                recover(self.output / name)

    def begin_replay(self, best: Path | None) -> None:
        """Write nothing from now on. The best pipeline is that of the checkpoint again.

        best (Optional[Path]): In the checkpoint.
        """
        self.is_replay = True
        if self.output is not None and best is not None:
            write_folder(self.output / BEST, lambda new: copy_folder(best, new, link=True))

    def wrap(self, nlp: Language, inner: Callable[[Language], Any] | None) -> Language:
        """For `before_to_disk`.

        inner (Optional[Callable[[Language], Language]]): Another such callback.
        RETURNS (Language): A pipeline that can do nothing but be saved.
        """
        if self.is_replay:
            return SavedWhole(None)
        found = nlp if inner is None else inner(nlp)
        return SavedWhole(found) if isinstance(found, Language) else found  # spaCy refuses anything else.

    def keep(self, path: object) -> None:
        """In place of `shutil.rmtree`: the old best pipeline stays until the new one is whole."""

    def copy_best(self, source: Path, target: Path) -> None:
        """In place of `shutil.copytree`."""
        if not self.is_replay:
            write_folder(target, lambda new: copy_folder(source, new))


class SavedWhole(Language):
    """Stands for a pipeline that is saved.

    nlp (Optional[Language]): The pipeline; None to save nothing.
    """

    def __init__(self, nlp: Language | None) -> None:
        self._nlp = nlp

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the pipeline, whole or not at all.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): What to leave out.
        """
        nlp = self._nlp
        if nlp is not None:
            write_folder(Path(path), lambda new: nlp.to_disk(new, exclude=exclude))


def sorted_scores(scores: Config) -> Config:
    """RETURNS (Dict[str, Any]): Scores whose inner dictionaries are sorted: the order of spaCy's depends on
    PYTHONHASHSEED, and it is saved."""
    return {name: _sorted(value) for name, value in scores.items()}


def _sorted(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _sorted(value[key]) for key in sorted(value, key=str)}
