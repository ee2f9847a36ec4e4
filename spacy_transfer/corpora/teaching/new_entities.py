"""Entities of new data in rehearsal."""

from collections.abc import Iterable, Set

from spacy.language import Language
from spacy.matcher import PhraseMatcher
from spacy.tokens import Doc
from spacy.training import Example


class NewEntities:
    """The labels and words of entities in new data, which decides on them. The data is read once.

    old (Set[str]): Labels that are not new.
    more (FrozenSet[str]): Labels that are, even if they do not stand there.
    """

    def __init__(self, nlp: Language, examples: Iterable[Example], old: Set[str], more: frozenset[str]) -> None:
        self.vocab = nlp.vocab
        self.all_labels: frozenset[str] = frozenset()
        self._matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
        seen = set[str]()
        for example in examples:
            for ent in example.reference.ents:
                self.all_labels |= {ent.label_}
                if ent.label_ not in old and ent.text.lower() not in seen:
                    seen.add(ent.text.lower())
                    self._matcher.add("new", [Doc(nlp.vocab, words=[token.text for token in ent])])
        self.labels = self.all_labels - old | more
        """Without those that are not new."""

    def spans(self, doc: Doc) -> list[tuple[int, int]]:
        """RETURNS (List[Tuple[int, int]]): Spans of words that are an entity of a new label in the new data."""
        return [(start, end) for _, start, end in self._matcher(doc)]
