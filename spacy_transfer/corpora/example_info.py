"""Example info: what a reader tells components about one example, in `reference.user_data`, since training rebuilds
Examples and keeps only that. It is never on a predicted doc, and not saved with a pipeline."""

from collections.abc import Collection, Iterable, Sequence

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..types import Bools, Config

CORPUS, TRAINS, SOFT = "spacy_transfer_corpus", "spacy_transfer_trains", "spacy_transfer_soft"
OPEN = "spacy_transfer_open"


def note_origin(reference: Doc, corpus: str, trains: Collection[str] | None = None) -> None:
    """Say where an example comes from, and who may learn from it.

    trains (Optional[Collection[str]]): Names of the components that learn from it; None for all.
    """
    reference.user_data[CORPUS] = corpus
    if trains is None:
        reference.user_data.pop(TRAINS, None)
    else:
        reference.user_data[TRAINS] = tuple(trains)


def corpus_of(reference: Doc) -> str | None:
    """RETURNS (Optional[str]): Name of the corpus that an example comes from, where a reader has said it."""
    return reference.user_data.get(CORPUS)


def trains_of(reference: Doc) -> tuple[str, ...] | None:
    """RETURNS (Optional[Tuple[str, ...]]): Names of the components that learn from an example; None for all."""
    return reference.user_data.get(TRAINS)


def may_train(reference: Doc, name: str) -> bool:
    """RETURNS (bool): Whether a component learns from an example: it does, unless a reader has named others."""
    trains = reference.user_data.get(TRAINS)
    return trains is None or name in trains


def set_open(reference: Doc, name: str, labels: Collection[str]) -> None:
    """Declare labels of entities that were not annotated: "outside" means that there is no entity of the others.

    labels (Collection[str]): The labels; those that the component does not have are ignored.
    """
    reference.user_data[OPEN] = {**reference.user_data.get(OPEN, {}), name: tuple(labels)}


def open_of(examples: Iterable[Example], name: str) -> list[tuple[str, ...]]:
    """RETURNS (List[Tuple[str, ...]]): Labels that were not annotated, for each example."""
    return [eg.reference.user_data.get(OPEN, {}).get(name, ()) for eg in examples]


def training_mask(examples: Iterable[Example], name: str) -> Bools:
    """RETURNS (Array): Whether a component learns from each of the examples, bool, shape (n_examples,)."""
    return numpy.array([may_train(eg.reference, name) for eg in examples], dtype=bool)


def set_soft(reference: Doc, name: str, targets: Config) -> None:
    """Leave a teacher's answer for a component.

    targets (Config): Arrays, numbers and strings that its loss reads.
    """
    reference.user_data[SOFT] = {**reference.user_data.get(SOFT, {}), name: targets}


def soft_of(examples: Sequence[Example], name: str) -> list[Config | None]:
    """RETURNS (List[Optional[Dict[str, Any]]]): A teacher's answer for a component to each example; None without."""
    return [eg.reference.user_data.get(SOFT, {}).get(name) for eg in examples]


def labels_that_hold(example: Example) -> list[str]:
    """RETURNS (List[str]): The gold categories that hold rather than not."""
    return [label for label, value in example.reference.cats.items() if value > 0.5]
