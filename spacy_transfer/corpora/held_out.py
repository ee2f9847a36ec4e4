"""HeldOutCorpus.v1: one file of examples, of which a share is kept for evaluation."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from spacy.language import Language
from spacy.training import Example

from ..errors import Errors
from .docs import read_examples


def create_held_out_corpus_v1(
    *, path: Path | None, dev_path: Path | None = None, part: Literal["train", "dev"], share: float = 0.2, seed: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Read the training part or the held-out part of one file; of two files where both are given.

    path (Optional[Path]): A .spacy file or a folder of them.
    dev_path (Optional[Path]): Held-out examples of their own; then nothing of `path` is held out.
    part (str): "train" or "dev".
    share (float): Share of the examples of `path` that is held out, 0 < share < 1, at least one.
    seed (int): Of the draw. Both parts must have the same.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader.
    """
    if path is None:
        raise ValueError(Errors.T501.format(part=part))
    if not 0.0 < share < 1.0:
        raise ValueError(Errors.T502.format(part=part, found=share))
    if dev_path is not None:
        return partial(read_examples, path=path if part == "train" else dev_path)
    return HeldOutCorpus(path, part, share, seed)


class HeldOutCorpus:
    """Examples of one part, in the order of the file.

    path (Path): A .spacy file or a folder of them.
    part (str): "train" or "dev".
    share (float): Share that is held out.
    """

    def __init__(self, path: Path, part: Literal["train", "dev"], share: float, seed: int) -> None:
        self._path, self._part, self._share, self._seed = path, part, share, seed

    def __call__(self, nlp: Language) -> Iterator[Example]:
        examples = list(read_examples(nlp, self._path))
        if len(examples) < 2:
            raise ValueError(Errors.T503.format(path=self._path, count=len(examples)))
        n_held = min(max(1, round(len(examples) * self._share)), len(examples) - 1)
        held = set(random.Random(self._seed).sample(range(len(examples)), n_held))
        for i, example in enumerate(examples):
            if (i in held) == (self._part == "dev"):
                yield example
