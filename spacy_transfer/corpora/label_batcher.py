"""LabelBatcher.v1: batches with several texts of a label."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from spacy.training import Example

from ..checks import COUNT, require
from .example_info import labels_that_hold


def create_label_batcher_v1(*, size: int, per_label: int = 2) -> Callable[[Iterable[Example]], Iterator[list[Example]]]:
    """Batches in which texts stand together with others of their label, for losses that compare them
    (`transfer_contrast`). Each example comes once in a pass. Those that find no partner come at its end: a label's only
    text, or what is left of a label. So do texts without a label. If the last batch would be less than
    half full, the last two share their texts evenly: a batch of a single label has nothing to compare.

    size (int): Examples in a batch.
    per_label (int): How many of a label stand together.
    RETURNS (Callable[[Iterable[Example]], Iterator[List[Example]]]): The batcher.
    """
    require("training.batcher", COUNT, size=size, per_label=per_label)

    def batch(examples: Iterable[Example]) -> Iterator[list[Example]]:
        before: list[list[Example]] = []
        groups: list[list[Example]] = []
        for group in _groups(examples, min(per_label, size)):
            if _count(groups) + len(group) > size:
                if before:
                    yield list(chain(*before))
                before, groups = groups, []
            groups.append(group)
        both = before + groups
        if _count(both) <= size:
            parts = [both] if both else []
        elif 2 * _count(groups) < size:
            parts = [both[::2], both[1::2]]
        else:
            parts = [before, groups]
        yield from (list(chain(*part)) for part in parts)

    return batch


def _count(groups: Sequence[Sequence[Example]]) -> int:
    return sum(len(group) for group in groups)


def _groups(examples: Iterable[Example], per_label: int) -> Iterator[list[Example]]:
    """A group is given as soon as it is full. Of an example's labels the one whose group is fullest counts."""
    waiting: dict[str, list[Example]] = {}
    single: list[Example] = []
    for example in examples:
        labels = sorted(labels_that_hold(example))
        if not labels:
            single.append(example)
            continue
        label = max(labels, key=lambda label: len(waiting.get(label, ())))
        group = waiting.setdefault(label, [])
        group.append(example)
        if len(group) == per_label:
            yield waiting.pop(label)
    for group in waiting.values():
        if len(group) > 1:
            yield group
        else:
            single += group
    yield from ([example] for example in single)
