"""TaskBatcher.v1: batches of one corpus each."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Literal

from spacy.training import Example

from ...checks import COUNT, Range
from ...errors import Errors
from ..example_info import corpus_of

_WANTED = "It must be 1 or more, each of a schedule too."


def create_task_batcher_v1(
    *, size: int | Iterable[int], unit: Literal["examples", "words"] = "examples"
) -> Callable[[Iterable[Example]], Iterator[list[Example]]]:
    """Batches in which all examples are of one corpus, for readers that mix several. A batch is given as soon as it is
    full, so that batches of a corpus come as often as its examples; at the end of a pass come those that are not full.
    Any other batcher mixes corpora in the order of the reader.

    size (Union[int, Iterable[int]]): Of a batch; a schedule gives one for each batch, and must not end.
    unit (str): What is counted: "examples", or "words" (tokens). An example of more words than `size` is a batch alone.
    RETURNS (Callable[[Iterable[Example]], Iterator[List[Example]]]): The batcher.
    """
    is_schedule = isinstance(size, Iterable) and not isinstance(size, (str, Mapping)) and size != []
    if not is_schedule and size not in COUNT:
        raise ValueError(Errors.T524.format(name="size", found=size, wanted=_WANTED))

    def batch(examples: Iterable[Example]) -> Iterator[list[Example]]:
        return _batches(examples, _sizes(size), unit)

    return batch


def _check_size(size: object) -> None:
    # Thinc's compounding schedules give fractions.
    if size not in Range(1):
        raise ValueError(Errors.T524.format(name="size", found=size, wanted=_WANTED))


def _sizes(size: int | Iterable[int]) -> Iterator[int]:
    for found in repeat(size) if isinstance(size, (int, float)) else size:
        _check_size(found)
        yield int(found)
    wanted = "It has ended before the examples have. Give a number, or a schedule without end."
    raise ValueError(Errors.T524.format(name="size", found=size, wanted=wanted))


def _batches(examples: Iterable[Example], sizes: Iterator[int], unit: str) -> Iterator[list[Example]]:
    waiting: dict[str | None, list[Example]] = {}
    words: dict[str | None, int] = {}
    limits: dict[str | None, int] = {}
    for example in examples:
        corpus = corpus_of(example.reference)
        length = len(example.predicted) if unit == "words" else 1
        if corpus not in limits:
            limits[corpus] = next(sizes)
        group = waiting.setdefault(corpus, [])
        if group and words[corpus] + length > limits[corpus]:
            yield waiting.pop(corpus)
            group = waiting[corpus] = []
            words[corpus], limits[corpus] = 0, next(sizes)
        group.append(example)
        words[corpus] = words.get(corpus, 0) + length
        if words[corpus] >= limits[corpus]:
            yield waiting.pop(corpus)
            words[corpus] = 0
            del limits[corpus]
    yield from waiting.values()
