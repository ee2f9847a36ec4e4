"""A checksum of what a training reads."""

import hashlib
from collections.abc import Iterable

from spacy.attrs import DEP, ENT_IOB, ENT_KB_ID, ENT_TYPE, HEAD, LEMMA, MORPH, ORTH, POS, SENT_START, SPACY, TAG
from spacy.tokens import Doc
from spacy.training import Example

from ..corpora.example_info import CORPUS, OPEN, TRAINS
from ..integrity import pack

_EXTENSION = "._."
"""spaCy's mark of an extension's value in `doc.user_data`."""
_WORDS = [ORTH, SPACY]
_ATTRIBUTES = [*_WORDS, TAG, POS, MORPH, LEMMA, DEP, HEAD, ENT_IOB, ENT_TYPE, ENT_KB_ID, SENT_START]


class ExamplesDigest:
    """sha256 over words and annotation of examples, in their order. Attributes are hashes of strings, which are the
    same in every process. A teacher's answers are left out: they follow from the texts."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, examples: Iterable[Example]) -> None:
        """Add examples."""
        for example in examples:
            self._hash.update(example.predicted.to_array(_WORDS).tobytes())
            reference = example.reference
            self._hash.update(reference.to_array(_ATTRIBUTES).tobytes())
            rest = _rest(reference)
            if rest:
                self._hash.update(pack(rest))

    def add_docs(self, docs: Iterable[Doc]) -> None:
        """Add the words of docs, without annotation."""
        for doc in docs:
            self._hash.update(doc.to_array(_WORDS).tobytes())

    def value(self) -> str:
        """RETURNS (str): The checksum so far."""
        return self._hash.hexdigest()


def _rest(doc: Doc) -> list[object]:
    spans = {key: [(s.start, s.end, s.label, s.kb_id) for s in group] for key, group in doc.spans.items()}
    info = [doc.user_data[key] for key in (CORPUS, TRAINS, OPEN) if key in doc.user_data]
    # Values of extensions: targets of a regressor, among others. They may be anything.
    found = {repr(key): repr(value) for key, value in doc.user_data.items() if key[:1] == (_EXTENSION,)}
    rest: list[object] = [spans, doc.cats, info] if spans or doc.cats or info or found else []
    return [*rest, found] if found else rest
