"""Label cover: few examples with all labels, since spaCy initialises on the first 100 of a streamed corpus."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spacy.language import Language
from spacy.morphology import Morphology
from spacy.training import Example

from ...errors import Errors

MOST = 100
"""What `spacy train` reads for initialisation where max_epochs = -1."""
Label = tuple[str, str]
"""Component and label; the empty component stands for the corpus itself, of which one example is shown at least."""
Read = Callable[[Any, Example], Iterable[str]]


def _tags(pipe: Any, example: Example) -> Iterable[str]:
    is_pos = getattr(pipe, "attribute", "tag") == "pos"
    return (token.pos_ if is_pos else token.tag_ for token in example.reference)


def _morphs(pipe: Any, example: Example) -> Iterable[str]:
    """As the morphologizer calls them: features in order, with the part of speech among them."""
    for token in example.reference:
        if token.pos or token.has_morph():
            features = Morphology.feats_to_dict(str(token.morph))
            if token.pos:
                features[pipe.POS_FEAT] = token.pos_
            yield pipe.vocab.strings[pipe.vocab.morphology.add(features)]


def _moves(pipe: Any, example: Example) -> Iterable[str]:
    """As `move_names` of the parser: a label to the left is not one to the right, and arcs that cross get others."""
    reference = example.reference
    if reference.has_annotation("DEP"):
        heads, labels = Example(reference, reference).get_aligned_parse(projectivize=True)
        for child, (head, label) in enumerate(zip(heads, labels, strict=True)):
            if head is not None and label:
                move = "B" if head == child else "L" if head > child else "R"
                yield f"{move}-{'ROOT' if label.upper() == 'ROOT' else label}"


def _targets(pipe: Any, example: Example) -> Iterable[str]:
    return (name for _, values in pipe.targets.of_example(example) for name in values)


_CATEGORIES = ("textcat", "textcat_multilabel", "transfer_textcat", "transfer_textcat_multilabel")
_PARSERS = ("parser", "beam_parser")
_LABELS: dict[str, Read] = {
    **dict.fromkeys(_CATEGORIES, lambda pipe, example: example.reference.cats),
    **dict.fromkeys(
        ("ner", "beam_ner", "transfer_ner"), lambda pipe, example: (ent.label_ for ent in example.reference.ents)
    ),
    **dict.fromkeys(_PARSERS, _moves),
    **dict.fromkeys(("tagger", "transfer_tagger"), _tags),
    "morphologizer": _morphs,
    **dict.fromkeys(
        ("spancat", "spancat_singlelabel"),
        lambda pipe, example: (span.label_ for span in example.reference.spans.get(pipe.key, ())),
    ),
    "transfer_regressor": _targets,
}

# What is kept by how often it has occurred, and the setting that says how often.
_THRESHOLDS: dict[str, tuple[str, str, Callable[[Any], int]]] = {
    **dict.fromkeys(_PARSERS, ("moves", "min_action_freq", lambda pipe: pipe.cfg["min_action_freq"])),
    "trainable_lemmatizer": ("edit trees", "min_tree_freq", lambda pipe: pipe.min_tree_freq),
}


class LabelReader:
    """Which labels an example would show, of components that take theirs from examples.

    config (Dict[str, Any]): Its config: a component that is given labels there needs to be shown none.
    """

    def __init__(self, nlp: Language, config: Mapping[str, Any]) -> None:
        given = config.get("initialize", {}).get("components", {})
        self._factories = {
            name: nlp.get_pipe_meta(name).factory
            for name in nlp.component_names
            if given.get(name, {}).get("labels") is None
        }
        self._pipes: dict[str, Any] = {name: nlp.get_pipe(name) for name in self._factories}

    def __call__(self, example: Example, trains: Iterable[str]) -> set[Label]:
        """RETURNS (Set[Label]): The labels, by component.

        trains (Iterable[str]): Names of the components that learn from it.
        """
        found: set[Label] = set()
        for name in trains:
            read = _LABELS.get(self._factories.get(name, ""))
            if read is not None:
                found.update((name, label) for label in read(self._pipes[name], example) if label)
        return found

    def holding(self, example: Example, trains: Iterable[str]) -> set[Label]:
        """RETURNS (Set[Label]): Categories that hold for an example: one that is named with the value 0 is a label of
            the component, of which nothing is seen.

        trains (Iterable[str]): Names of the components that learn from it.
        """
        holding = [label for label, value in example.reference.cats.items() if value and value > 0]
        return {(name, label) for name in trains if self._factories.get(name) in _CATEGORIES for label in holding}

    def check(self, trains: Iterable[str]) -> None:
        """Whether a few examples of each label will do.

        RAISES (ValueError): When one of them must see all examples to be initialised, and has not been.
        """
        for name in trains:
            factory = self._factories.get(name, "")
            if factory in _THRESHOLDS and not self._pipes[name].labels:
                kept, setting, threshold = _THRESHOLDS[factory]
                least = threshold(self._pipes[name])
                # One example of each move is enough then. Edit trees are not labels of an example.
                is_helped = factory in _LABELS
                if least > 1 or not is_helped:
                    found = {"component": name, "factory": factory, "kept": kept, "setting": setting, "least": least}
                    way = f"; or set {setting} = 1" if is_helped else ""
                    raise ValueError(Errors.T528.format(**found, most=MOST, way=way))

    def known(self) -> set[Label]:
        """RETURNS (Set[Label]): The labels that components have already."""
        found: set[Label] = set()
        for name, factory in self._factories.items():
            if factory in _LABELS:
                labels = getattr(self._pipes[name], "move_names" if factory in _PARSERS else "labels", ())
                found.update((name, label) for label in labels)
        return found


_Seen = tuple[int, Example, frozenset[Label], frozenset[Label]]  # How many labels, of what, which, and which hold.


class LabelCover:
    """Keeps, for each label, the example that shows the most labels, and the one in which the most hold: so no more
    than two examples a label, however long the stream."""

    def __init__(self) -> None:
        self._richest: dict[Label, _Seen] = {}
        self._holding: dict[Label, _Seen] = {}

    def add(self, example: Example, labels: Iterable[Label], holding: Iterable[Label] = ()) -> None:
        """Look at an example.

        holding (Iterable[Label]): Those that it should show rather than another, if there is room.
        """
        shown, held = frozenset(labels), frozenset(holding)
        _keep_richest(self._richest, shown, (len(shown), example, shown, held))
        _keep_richest(self._holding, held, (len(held), example, held, held))

    @classmethod
    def joined(cls, covers: Iterable["LabelCover"]) -> "LabelCover":
        """RETURNS (LabelCover): What several have seen."""
        found = cls()
        for cover in covers:
            for mine, others in ((found._richest, cover._richest), (found._holding, cover._holding)):
                for label, seen in others.items():
                    _keep_richest(mine, [label], seen)
        return found

    def choose(self, known: Iterable[Label] = (), most: int = 0) -> list[Example]:
        """Few examples that show all labels; and then, while they are not too many, those in which labels hold that
        hold in none of these.

        most (int): How many examples there may be with those of the second kind.
        RETURNS (List[Example]): In the order of the choice.
        """
        known = set(known)
        chosen = _greedy(self._richest, known)
        held = {label for _, _, _, holding in chosen for label in holding}
        chosen += _greedy(self._holding, known | held)[: max(0, most - len(chosen))]
        return [example for _, example, _, _ in chosen]


def _keep_richest(kept: dict[Label, _Seen], labels: Iterable[Label], seen: _Seen) -> None:
    # In an order of its own: that of a set of strings is another in each process, and the choice would be.
    for label in sorted(labels):
        if label not in kept or kept[label][0] < seen[0]:
            kept[label] = seen


def _greedy(kept: Mapping[Label, _Seen], known: set[Label]) -> list[_Seen]:
    """At each time the one that shows the most of what is missing (Johnson 1974)."""
    missing, pool = set(kept) - known, list(kept.values())
    chosen: list[_Seen] = []
    while missing:
        best = max(pool, key=lambda seen: len(seen[2] & missing))
        chosen.append(best)
        missing -= best[2]
    return chosen
