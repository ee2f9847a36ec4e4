"""Masking: annotation that a component must not learn from is replaced by spaCy's missing values."""

from collections.abc import Callable, Collection
from typing import TypeAlias, cast

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.ty import ListenedToComponent
from thinc.types import Ints2d

from ...errors import Errors
from ...types import Pipe, pipe_of

OURS = {
    "transfer_ner",
    "transfer_tagger",
    "transfer_textcat",
    "transfer_textcat_multilabel",
    "transfer_regressor",
    "transfer_rows",
}
"""Factories whose components read example info: see `example_info.training_mask`."""
Clear: TypeAlias = Callable[[Doc, object], None]


def _clear(*attributes: str) -> Clear:
    def clear(doc: Doc, pipe: object) -> None:
        if len(doc):
            doc.from_array(list(attributes), cast(Ints2d, numpy.zeros((len(doc), len(attributes)), dtype="uint64")))

    return clear


_clear_entities = _clear("ENT_IOB", "ENT_TYPE", "ENT_KB_ID")


def _clear_ner(doc: Doc, pipe: object) -> None:
    _clear_entities(doc, pipe)
    key = _negative_key(pipe)
    if key is not None and key in doc.spans:
        del doc.spans[key]


def _clear_cats(doc: Doc, pipe: object) -> None:
    doc.cats = {}


# By factory: clears annotation, so that spaCy takes it as missing, with no loss.
_CLEAR: dict[str, Clear] = {
    "tagger": _clear("TAG"),
    "morphologizer": _clear("POS", "MORPH"),
    "trainable_lemmatizer": _clear("LEMMA"),
    "parser": _clear("DEP"),
    "beam_parser": _clear("DEP"),
    "ner": _clear_ner,
    "beam_ner": _clear_ner,
    "textcat_multilabel": _clear_cats,
}
_READS = {
    "tagger": {"token.tag"},
    "morphologizer": {"token.pos", "token.morph"},
    "trainable_lemmatizer": {"token.lemma"},
    **dict.fromkeys(("parser", "beam_parser"), {"token.dep"}),
    **dict.fromkeys(("ner", "beam_ner", "transfer_ner", "entity_linker"), {"doc.ents"}),
    **dict.fromkeys(("textcat", "textcat_multilabel", "transfer_textcat", "transfer_textcat_multilabel"), {"doc.cats"}),
}
_SPANS = {"spancat", "spancat_singlelabel"}
_BETTER = {
    "ner": "transfer_ner",
    "beam_ner": "transfer_ner",
    "tagger": "transfer_tagger",
    "textcat": "transfer_textcat",
    "textcat_multilabel": "transfer_textcat_multilabel",
}
_WHY = {
    "textcat": "labels that are not given count as 0",
    "spancat": "spans that are not given count as none",
    "spancat_singlelabel": "spans that are not given count as none",
    "span_finder": "spans that are not given count as none",
    "senter": "a token that is not known to begin a sentence counts as one that does not",
}


class Masking:
    """Finds the heads of a pipeline, and how to clear annotation that they must not learn from.

    frozen (Collection[str]): Components that do not learn at all.
    """

    def __init__(self, nlp: Language, frozen: Collection[str]) -> None:
        self.heads = {name: pipe_of(nlp, name) for name, pipe in nlp.components if name not in frozen and is_head(pipe)}
        self._factories = {name: nlp.get_pipe_meta(name).factory for name in self.heads}
        self._known: dict[tuple[str, ...], list[tuple[Clear, Pipe]]] = {}

    def clears_for(self, corpus: str, trains: Collection[str] | None) -> list[tuple[Clear, Pipe]]:
        """What to clear on a doc before training.

        trains (Optional[Collection[str]]): Components that learn from it; None for all.
        RETURNS (List[Tuple[Clear, Pipe]]): Functions, and the component to call each with.
        RAISES (ValueError): When a component cannot be kept from learning.
        """
        if trains is None:
            return []
        key = tuple(sorted(trains))
        if key not in self._known:
            others = [n for n, f in self._factories.items() if n not in trains and f not in OURS]
            self._known[key] = [self._clear_for(corpus, name, trains) for name in others]
        return self._known[key]

    def _clear_for(self, corpus: str, name: str, trains: Collection[str]) -> tuple[Clear, Pipe]:
        factory = self._factories[name]
        facts = {"component": name, "factory": factory, "corpus": corpus, "way": _way_out(factory)}
        if factory not in _CLEAR:
            why = _WHY.get(factory, "it is not known how annotation can be missing for it")
            raise ValueError(Errors.T520.format(why=why, **facts))
        for owner in trains:
            if shared := self._reads(name) & self._reads(owner):
                raise ValueError(Errors.T521.format(owner=owner, what=" and ".join(sorted(shared)), **facts))
        return _CLEAR[factory], self.heads[name]

    def _reads(self, name: str) -> set[str]:
        pipe = self.heads.get(name)
        factory = self._factories.get(name, "")
        if factory == "transfer_tagger":
            return {f"token.{getattr(pipe, 'attribute', 'tag')}"}
        targets = getattr(pipe, "targets", None) if factory == "transfer_regressor" else None
        if targets is not None and targets.source == "cats":
            return {"doc.cats"}
        keys = {_negative_key(pipe), None if targets is None else targets.spans_key}
        if factory in _SPANS:
            keys.add(getattr(pipe, "key", None))
        return _READS.get(factory, set()) | {f"doc.spans[{key!r}]" for key in keys if key is not None}


def is_head(pipe: object) -> bool:
    """RETURNS (bool): Whether a component learns from annotation: an encoder that others listen to does not."""
    learns = bool(getattr(pipe, "is_trainable", False))
    return learns and not isinstance(pipe, ListenedToComponent) and not hasattr(pipe, "listener_map")


def _negative_key(pipe: object) -> str | None:
    """RETURNS (Optional[str]): Where training docs have spans that are known to be no entities."""
    own = getattr(pipe, "incorrect_spans_key", None)
    return own if own is not None else (getattr(pipe, "cfg", None) or {}).get("incorrect_spans_key")


def _way_out(factory: str) -> str:
    better = _BETTER.get(factory)
    ours = f"Take {better} in its place: it never learns from what it does not own. Or name" if better else "Name"
    return f"{ours} it in `trains` of all corpora, or put it into training.frozen_components."
