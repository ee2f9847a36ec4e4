"""Few examples that show all labels: where a corpus is streamed, spaCy initialises components on the first 100."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors

MOST = 100
"""What `spacy train` reads for initialisation where max_epochs = -1."""
Label = tuple[str, str]
"""Component and label; the empty component stands for the corpus itself, of which one example is shown at least."""


def _tags(pipe: Any, doc: Doc) -> Iterable[str]:
    is_pos = getattr(pipe, "attribute", "tag") == "pos"
    return (token.pos_ if is_pos else token.tag_ for token in doc)


def _morphs(pipe: Any, doc: Doc) -> Iterable[str]:
    return (f"{token.pos_}|{token.morph}" if token.pos or token.has_morph() else "" for token in doc)


_LABELS: dict[str, Callable[[Any, Doc], Iterable[str]]] = {
    **dict.fromkeys(
        ("textcat", "textcat_multilabel", "transfer_textcat", "transfer_textcat_multilabel"), lambda pipe, doc: doc.cats
    ),
    **dict.fromkeys(("ner", "beam_ner", "transfer_ner"), lambda pipe, doc: (ent.label_ for ent in doc.ents)),
    **dict.fromkeys(("parser", "beam_parser"), lambda pipe, doc: (token.dep_ for token in doc)),
    **dict.fromkeys(("tagger", "transfer_tagger"), _tags),
    "morphologizer": _morphs,
    **dict.fromkeys(
        ("spancat", "spancat_singlelabel"), lambda pipe, doc: (span.label_ for span in doc.spans.get(pipe.key, ()))
    ),
}

# What must have occurred how often to be kept.
_THRESHOLDS: dict[str, tuple[str, Callable[[Any], int]]] = {
    **dict.fromkeys(("parser", "beam_parser"), ("min_action_freq", lambda pipe: pipe.cfg["min_action_freq"])),
    "trainable_lemmatizer": ("min_tree_freq", lambda pipe: pipe.min_tree_freq),
}


class LabelReader:
    """Which labels an example would show, of components that take theirs from examples.

    nlp (Language): The pipeline.
    config (Dict[str, Any]): Its config: a component that is given labels there needs to be shown none.
    """

    def __init__(self, nlp: Language, config: Mapping[str, Any]) -> None:
        given = config.get("initialize", {}).get("components", {})
        by_examples: dict[str, tuple[Any, str]] = {
            name: (pipe, nlp.get_pipe_meta(name).factory)
            for name, pipe in nlp.components
            if given.get(name, {}).get("labels") is None
        }
        self._pipes = {name: (pipe, _LABELS[kind]) for name, (pipe, kind) in by_examples.items() if kind in _LABELS}
        self._counting = {name: found for name, found in by_examples.items() if found[1] in _THRESHOLDS}

    def __call__(self, example: Example, trains: Iterable[str]) -> set[Label]:
        """RETURNS (Set[Label]): The labels, by component.

        example (Example): The example.
        trains (Iterable[str]): Names of the components that learn from it.
        """
        found: set[Label] = set()
        for name in trains:
            if name in self._pipes:
                pipe, read = self._pipes[name]
                found.update((name, label) for label in read(pipe, example.reference) if label)
        return found

    def check(self, trains: Iterable[str]) -> None:
        """Whether a few examples of each label will do.

        trains (Iterable[str]): Names of the components that learn.
        RAISES (ValueError): When one of them must see all examples to be initialised, and has not been.
        """
        for name in trains:
            pipe, factory = self._counting.get(name, (None, ""))
            if pipe is not None and not pipe.labels:
                setting, threshold = _THRESHOLDS[factory]
                if threshold(pipe) > 1:
                    found = {"component": name, "factory": factory, "setting": setting, "least": threshold(pipe)}
                    raise ValueError(Errors.T528.format(**found, most=MOST))

    def known(self) -> set[Label]:
        """RETURNS (Set[Label]): What the components have learned of already."""
        return {(name, label) for name, (pipe, _) in self._pipes.items() for label in getattr(pipe, "labels", ())}


class Cover:
    """Keeps, for each label, the example that shows the most labels: so no more examples than labels, however long the
    stream."""

    def __init__(self) -> None:
        self._richest: dict[Label, tuple[int, Example, frozenset[Label]]] = {}

    def see(self, example: Example, labels: Iterable[Label]) -> None:
        """Look at an example.

        example (Example): The example.
        labels (Iterable[Label]): What it shows.
        """
        shown = frozenset(labels)
        for label in shown:
            if label not in self._richest or self._richest[label][0] < len(shown):
                self._richest[label] = (len(shown), example, shown)

    @classmethod
    def joined(cls, covers: Iterable["Cover"]) -> "Cover":
        """RETURNS (Cover): What several have seen."""
        found = cls()
        for cover in covers:
            for label, item in cover._richest.items():
                if label not in found._richest or found._richest[label][0] < item[0]:
                    found._richest[label] = item
        return found

    def choose(self, known: Iterable[Label] = ()) -> list[Example]:
        """Few of them that show all labels: at each time the one that shows the most of what is missing (Johnson 1974).

        known (Iterable[Label]): What need not be shown.
        RETURNS (List[Example]): In the order of the choice.
        """
        missing = set(self._richest).difference(known)
        pool: Sequence[tuple[Example, frozenset[Label]]] = [(eg, shown) for _, eg, shown in self._richest.values()]
        chosen = []
        while missing:
            best, shown = max(pool, key=lambda item: len(item[1] & missing))
            chosen.append(best)
            missing -= shown
        return chosen
