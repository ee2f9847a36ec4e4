"""Gold numbers of docs and spans, and the scorer of `transfer_regressor`."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..._compat import stored_value
from ...errors import Errors
from ...heads.correlation import mean_absolute_error, pearson, spearman

Source = Literal["extension", "cats"]
_SCORES = {"pearson": pearson, "spearman": spearman, "mae": mean_absolute_error}
Extent = tuple[int, int]
Pair = tuple[int, float, float | None]
"""Number of the example, gold value, predicted value (None where there is no prediction)."""


def check_bounds(name: str, bounds: list[float] | None) -> tuple[float, float] | None:
    """RETURNS (Optional[Tuple[float, float]]): Lowest and highest value, as configured."""
    if bounds is None:
        return None
    if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or not bounds[0] < bounds[1]:
        raise ValueError(Errors.T412.format(name=name, found=bounds))
    return float(bounds[0]), float(bounds[1])


def declare(name: str, attribute: str, kind: type[Doc] | type[Span]) -> None:
    """Declare an extension attribute. One that is there is used as it is, if it can be written to."""
    if not kind.has_extension(attribute):
        kind.set_extension(attribute, default=None)
        return
    _, method, getter, setter = kind.get_extension(attribute)
    if method is not None or getter is not None or setter is not None:
        raise ValueError(Errors.T411.format(name=name, place=kind.__name__, attribute=attribute))


@dataclass(frozen=True)
class Targets:
    """Where the gold values of a component stand.

    source (str): "extension", or "cats" of docs.
    spans_key (Optional[str]): Group of spans; None for docs.
    """

    name: str
    attribute: str
    source: Source = "extension"
    spans_key: str | None = None
    bounds: tuple[float, float] | None = None

    def of_example(self, example: Example, only: Iterable[str] | None = None) -> list[tuple[Extent, dict[str, float]]]:
        """Gold values of an example, and which tokens of the *predicted* doc they stand for.

        example (Example): The example. A span that does not fall on tokens of the predicted doc is left out.
        only (Optional[Iterable[str]]): Categories that are meant, where the source is "cats".
        RETURNS (List[Tuple[Tuple[int, int], Dict[str, float]]]): First and last token (exclusive), and values by
            name; one pair for a doc.
        """
        return [(extent, self.read(place, only)) for extent, place in self._places(example)]

    def extents(self, example: Example) -> list[Extent]:
        """RETURNS (List[Tuple[int, int]]): The same without the values, which are not looked at."""
        return [extent for extent, _ in self._places(example)]

    def _places(self, example: Example) -> list[tuple[Extent, Doc | Span]]:
        if self.spans_key is None:
            return [((0, len(example.predicted)), example.reference)]
        found = list[tuple[Extent, Doc | Span]]()
        for span in example.reference.spans.get(self.spans_key, ()):
            for own in example.get_aligned_spans_y2x([span], allow_overlap=True):
                found.append(((own.start, own.end), span))
        return found

    def read(self, place: Doc | Span, only: Iterable[str] | None = None) -> dict[str, float]:
        """Gold values of a doc or span.

        only (Optional[Iterable[str]]): Categories that are meant, where the source is "cats".
        RETURNS (Dict[str, float]): By name; those that are missing are not in it.
        """
        value: object
        if self.source == "cats" and isinstance(place, Doc):
            wanted = None if only is None else set(only)
            value = {name: v for name, v in place.cats.items() if wanted is None or name in wanted}
        else:
            value = stored_value(place, self.attribute)
        values = value if isinstance(value, dict) else {self.attribute: value}
        found = {name: number for name, number in values.items() if number is not None}
        return {name: self._checked(place, name, number) for name, number in found.items()}

    def _checked(self, place: Doc | Span, name: str, number: object) -> float:
        facts = {"name": self.name, "text": place.text[:60], "target": name, "found": number}
        if not isinstance(number, Real) or not math.isfinite(float(number)):
            raise ValueError(Errors.T415.format(**facts))
        if self.bounds is not None and not self.bounds[0] <= float(number) <= self.bounds[1]:
            raise ValueError(Errors.T416.format(low=self.bounds[0], high=self.bounds[1], **facts))
        return float(number)

    def as_text(self) -> str:
        """RETURNS (str): Where values should be, in words."""
        if self.source == "cats":
            return "doc.cats"
        if self.spans_key is None:
            return f"doc._.{self.attribute}"
        return f"span._.{self.attribute} of the spans in doc.spans[{self.spans_key!r}]"


def pairs_by_target(examples: Iterable[Example], targets: Targets, labels: Iterable[str]) -> dict[str, list[Pair]]:
    """Gold and predicted values."""
    labels = list(labels)
    found: dict[str, list[Pair]] = {label: [] for label in labels}
    for i, example in enumerate(examples):
        places = [example.reference]
        if targets.spans_key is not None:
            places = list(example.reference.spans.get(targets.spans_key, ()))
        for place in places:
            gold = targets.read(place, labels)
            value = stored_value(place, targets.attribute, example.predicted)
            guess = value if isinstance(value, dict) else {targets.attribute: value}
            for label in labels:
                if label in gold:
                    found[label].append((i, gold[label], guess.get(label)))
    return found


def make_regression_scorer_v1() -> Callable[..., dict[str, object]]:
    """The scorer of `transfer_regressor`. With the attribute "score" it gives `score_pearson`, `score_spearman` (ties
    by average ranks) and `score_mae` (mean absolute error), each the mean over the targets, None where there is nothing
    to score, or a prediction is not finite; `score_per_target` has them one by one, with the number of values scored
    ("n") and of gold values without a prediction ("missed").

    RETURNS (Callable[[Iterable[Example]], Dict[str, object]]): The scorer.
    """
    return score_regression


def score_regression(
    examples: Iterable[Example], *, targets: Targets, labels: Iterable[str], **kwargs: object
) -> dict[str, object]:
    """Score predictions. Nothing is changed.

    RETURNS (Dict[str, object]): See `make_regression_scorer_v1`.
    """
    by_target: dict[str, dict[str, float | None]] = {}
    # A prediction that is not finite has no rank: then there is no score at all, not one of the other targets.
    all_finite = True
    for label, pairs in pairs_by_target(examples, targets, labels).items():
        scored = [(gold, guess) for _, gold, guess in pairs if guess is not None]
        golds, guesses = [gold for gold, _ in scored], [guess for _, guess in scored]
        is_finite = all(map(math.isfinite, guesses))
        all_finite &= is_finite
        values = {name: score(golds, guesses) if is_finite else math.nan for name, score in _SCORES.items()}
        known = {name: None if math.isnan(value) else value for name, value in values.items()}
        by_target[label] = {**known, "n": len(scored), "missed": len(pairs) - len(scored)}
    scores: dict[str, object] = {}
    for name in _SCORES:
        found = [value for own in by_target.values() if (value := own[name]) is not None]
        mean = sum(found) / len(found) if found and all_finite else None
        scores[f"{targets.attribute}_{name}"] = mean
    scores[f"{targets.attribute}_per_target"] = by_target
    return scores
