"""Labels and examples in the corpora of a config, for the heads that `spacy debug data` does not know."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from spacy import util
from spacy.language import Language
from spacy.tokens import Doc

from ..errors import Warnings
from .common import show_table

FEW = 5
MOST = 20
"""Labels shown of a head."""
MOST_TEXTS = 10_000
"""Texts read of a corpus, which may have no end."""
KINDS = {
    "transfer_textcat": "cats",
    "transfer_textcat_multilabel": "cats",
    "transfer_ner": "ents",
    "transfer_tagger": "tags",
}


def show_labels(nlp: Language) -> list[str]:
    """Print how often each label of our heads is in the corpora.

    nlp (Language): The pipeline, initialised for training.
    RETURNS (List[str]): Warnings.
    """
    training = nlp.config.interpolate()["training"]
    heads = {name: KINDS[nlp.get_pipe_meta(name).factory] for name in nlp.pipe_names if _is_ours(nlp, name)}
    if not heads:
        return []
    corpora = util.resolve_dot_names(nlp.config.interpolate(), [training["train_corpus"], training["dev_corpus"]])
    train, dev = ([example.reference for example in islice(corpus(nlp), MOST_TEXTS)] for corpus in corpora)
    rows: list[Sequence[object]] = []
    found: list[str] = []
    for name, kind in heads.items():
        counts = [_count(docs, kind, getattr(nlp.get_pipe(name), "attribute", "tag")) for docs in (train, dev)]
        rows += _rows(name, *counts)
        found += _warnings(name, *counts)
    show_table(rows, header=("component", "label", "train", "dev"), aligns="llrr")
    return found


def _is_ours(nlp: Language, name: str) -> bool:
    return nlp.get_pipe_meta(name).factory in KINDS


def _count(docs: Iterable[Doc], kind: str, attribute: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for doc in docs:
        if kind == "cats":
            found.update(label for label, value in doc.cats.items() if value >= 0.5)
        elif kind == "ents":
            found.update(ent.label_ for ent in doc.ents)
        else:
            found.update(filter(None, (getattr(token, f"{attribute}_") for token in doc)))
    return found


def _rows(name: str, train: Counter[str], dev: Counter[str]) -> list[Sequence[object]]:
    labels = sorted({*train, *dev}, key=lambda label: (-train[label], label))
    rows: list[Sequence[object]] = [(name, label, train[label], dev[label]) for label in labels[:MOST]]
    rest = labels[MOST:]
    if rest:
        count = (sum(counts[label] for label in rest) for counts in (train, dev))
        rows.append((name, f"({len(rest)} more)", *count))
    return rows


def _warnings(name: str, train: Counter[str], dev: Counter[str]) -> list[str]:
    unseen = sorted(set(dev) - set(train))
    few = sorted(label for label, count in train.items() if count < FEW)
    found = [Warnings.W439.format(name=name, labels=", ".join(unseen[:MOST]))] if unseen else []
    return found + ([Warnings.W440.format(name=name, few=FEW, labels=", ".join(few[:MOST]))] if few else [])
