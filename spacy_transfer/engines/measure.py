"""Measures a way to run a pipeline: words a second, and the points of the pipeline's own scores that are lost."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from spacy.language import Language
from spacy.training import Example

from ..corpora.docs import read_examples
from ..errors import Errors
from ..progress import progress
from ..types import Floats

_SURE = 1.96  # Standard deviations on either side of an interval of 95 %.


@dataclass(frozen=True)
class Loss:
    """What is lost of one score.

    key (str): Name of the score.
    before (float), after (float): The score of the pipeline as it is, and of the other way.
    low (float), high (float): The loss in points, from and to: a bootstrap interval of 95 % over the texts.
    """

    key: str
    before: float
    after: float
    low: float
    high: float

    @property
    def points(self) -> float:
        """RETURNS (float): The loss in points of 100; negative for a gain."""
        return 100 * (self.before - self.after)


class Scores:
    """The pipeline's own scores on texts, and their losses. All ways are scored on the same resampled texts.

    path (Path): The .spacy file.
    resamples (int): How often texts are drawn.
    is_half (bool): Leave half of the texts, drawn at random, to be learned from: `others`.
    """

    def __init__(
        self, nlp: Language, path: Path, *, most_loss: float, least: int, resamples: int, is_half: bool = False
    ) -> None:
        self.path = path
        texts = [example.text for example in read_examples(nlp, path)]
        # Drawn, as labels may come in turn in the file.
        order = numpy.random.default_rng(0).permutation(len(texts)) if is_half else numpy.arange(len(texts))
        self._measured = numpy.sort(order[: (len(texts) + 1) // 2] if is_half else order)
        self.others = [texts[i] for i in order[len(self._measured) :]]
        self.texts = [texts[i] for i in self._measured]
        if len(self.texts) < least:
            error = Errors.T282 if is_half else Errors.T275
            raise ValueError(error.format(path=path, count=len(texts), most=most_loss, least=least, twice=2 * least))
        examples, random = self._predict(nlp), numpy.random.default_rng(0)
        self._drawn = [random.integers(len(examples), size=len(examples)) for _ in range(resamples)]
        weights = nlp.config["training"]["score_weights"]
        found = _scores(nlp, examples)
        self.keys = [key for key, weight in weights.items() if weight and float(found.get(key) or 0) > 0]
        if not self.keys:
            raise ValueError(Errors.T280.format(path=path))
        self.before = {key: found[key] for key in self.keys}
        self._draws = self._resampled(nlp, examples)

    def losses(self, nlp: Language) -> list[Loss]:
        """RETURNS (List[Loss]): Of each of the pipeline's scores, the largest first."""
        examples = self._predict(nlp)
        found = _scores(nlp, examples)
        spread = 100 * (self._draws - self._resampled(nlp, examples)).std(axis=0, ddof=1)
        losses = []
        for key, deviation in zip(self.keys, spread, strict=True):
            points = 100 * (self.before[key] - found[key])
            half = _SURE * float(deviation)
            losses.append(Loss(key, self.before[key], found[key], points - half, points + half))
        return sorted(losses, key=lambda loss: -loss.points)

    def _predict(self, nlp: Language) -> list[Example]:
        examples = list(read_examples(nlp, self.path))
        examples = [examples[i] for i in self._measured]
        docs = nlp.pipe([example.predicted for example in examples])
        docs = progress(docs, what="Predicting", total=len(examples))
        return [Example(doc, example.reference) for doc, example in zip(docs, examples, strict=True)]

    def _resampled(self, nlp: Language, examples: Sequence[Example]) -> Floats:
        draws = [_scores(nlp, [examples[i] for i in drawn]) for drawn in self._drawn]
        return numpy.array([[found[key] or 0.0 for key in self.keys] for found in draws])


def _scores(nlp: Language, examples: list[Example]) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, pipe in nlp.pipeline:
        if hasattr(pipe, "score"):
            found.update(pipe.score(examples))
    return found


def words_per_second(pipelines: Mapping[str, Language], texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Time pipelines in turn, so that a slow spell of the machine falls on all. The first round is not counted.

    RETURNS (Dict[str, float]): The median, by name.
    """
    words = sum(len(next(iter(pipelines.values())).make_doc(text)) for text in texts)
    taken: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(rounds + 1):
        for name, nlp in pipelines.items():
            begin = time.perf_counter()
            for _doc in nlp.pipe(texts):
                pass
            taken[name].append(time.perf_counter() - begin)
    return {name: words / statistics.median(seconds[1:]) for name, seconds in taken.items()}
