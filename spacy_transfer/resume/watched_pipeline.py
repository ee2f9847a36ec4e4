"""A pipeline that is watched while it is trained: checksums of what it reads, and losses in the course of a step."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.language import Language
from spacy.training import Example

from ..types import Config, Losses
from .checkpoints import Checkpoint
from .examples_digest import ExamplesDigest
from .saving import sorted_scores
from .settings import Settings


class TrainingData:
    """Checksums of what a training reads, compared with those in the checkpoint from which it goes on."""

    def __init__(self, settings: Settings) -> None:
        self.found: Checkpoint | None = None
        """The checkpoint, while the steps that are done are replayed."""
        self._settings = settings
        self._digests: dict[str, str] = {}
        self.stream = ExamplesDigest()

    def has(self, what: str) -> bool:
        """RETURNS (bool): Whether the "train" or "dev" data have been seen."""
        return what in self._digests

    def see(self, what: str, examples: Iterable[Example]) -> None:
        """Remember the checksum of data.

        RAISES (ValueError): When those of the checkpoint were others.
        """
        digest = ExamplesDigest()
        digest.add(examples)
        self.compare(what, digest)

    def compare(self, what: str, digest: ExamplesDigest) -> None:
        """The same for a checksum."""
        self._digests[what] = value = digest.value()
        if self.found is not None:
            saved = self.found.state.values["training"]["data"].get(what)
            if saved is not None and saved != value:
                self._settings.refuse([f"the examples of training.{what}_corpus are others"], self.found)

    def values(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): All checksums so far."""
        return {**self._digests, "stream": self.stream.value()}


class WatchedPipeline:
    """Takes the place of `nlp.update` and `nlp.evaluate`. (Instances of Language have a __dict__.)

    data (TrainingData): Sees the development data.
    rows (Sequence[Dict[str, Any]]): Those of the log whose scores are given in a replay.
    """

    def __init__(self, nlp: Language, data: TrainingData, rows: Iterable[Config]) -> None:
        self._nlp, self._data = nlp, data
        self._scores = iter([row["other_scores"] for row in rows])
        self.losses: Losses = {}
        """Since the last row."""
        self.losses_before: Losses | None = None
        """Those of a checkpoint that was written between two rows."""
        own: dict[str, Any] = vars(nlp)
        self._before: dict[str, Any] = {name: own[name] for name in ("update", "evaluate") if name in own}
        self._update: Callable[..., Any] = nlp.update
        self._evaluate: Callable[..., Config] = nlp.evaluate
        own.update(update=self.update, evaluate=self.evaluate)

    def forget(self) -> None:
        """Leave the pipeline as it was."""
        for name in ("update", "evaluate"):
            vars(self._nlp).pop(name, None)
        vars(self._nlp).update(self._before)

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """RETURNS (Any): What the pipeline returns."""
        losses = kwargs.get("losses")
        if losses is not None:
            if self.losses_before:
                losses.update(self.losses_before)
            self.losses_before, self.losses = None, losses
        return self._update(*args, **kwargs)

    def evaluate(self, examples: Iterable[Example], **kwargs: Any) -> Config:
        """RETURNS (Dict[str, Any]): The scores; in a replay those of the log."""
        if not self._data.has("dev"):
            examples = list(examples)
            self._data.see("dev", examples)
        if self._data.found is not None:
            return dict(next(self._scores))
        return sorted_scores(self._evaluate(examples, **kwargs))
