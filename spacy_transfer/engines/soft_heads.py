"""Output layers that are solved anew, so that they answer as those of another pipeline (Hinton et al. 2015)."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model

from ..backbones.encode import CachedEncoder
from ..heads.layers import TemperatureAttrs
from ..heads.maxent import Evidence, weigh
from ..heads.soft_losses import soften
from ..pipeline.heads.classifier import Classifier
from ..pipeline.heads.maxent_start import Start, start_from_maxent
from ..types import Floats

_BATCH = 128
NO_ROWS: Mapping[str, CachedEncoder] = MappingProxyType({})


def solve_heads(
    nlp: Language, teacher: Language, texts: Sequence[str], rows: Mapping[str, CachedEncoder] = NO_ROWS
) -> list[str]:
    """Solve the output layers of classifiers to the optimum for a teacher's probabilities, which stand in the place of
    labels. Other heads stay as they are, and so do layers before the last.

    nlp (Language): A pipeline with the components of the teacher, and another encoder.
    teacher (Language): The teacher.
    texts (Sequence[str]): What to learn on.
    rows (Mapping[str, CachedEncoder]): Rows of the teacher's backbones that are known already, by component.
    RETURNS (List[str]): Names of the heads that were solved.
    """
    names = [name for name, pipe in teacher.pipeline if isinstance(pipe, Classifier)]
    if not names or not texts:
        return []
    answers = answers_of(teacher, names, texts, rows)
    for name in names:
        head = nlp.get_pipe(name)
        assert isinstance(head, Classifier)
        taught = TaughtHead(head, answers[name])
        # Not with the strength that was once found for this head: probabilities have less noise than labels, and
        # cross-validation finds a weaker one.
        start_from_maxent(taught, lambda: _examples(nlp, texts), nlp, len(texts), Start("maxent"))
    return names


def answers_of(
    nlp: Language, names: Sequence[str], texts: Sequence[str], rows: Mapping[str, CachedEncoder] = NO_ROWS
) -> dict[str, Floats]:
    """RETURNS (Dict[str, Floats2d]): Of each classifier its probabilities, as if it was not calibrated, shape
    (n_texts, n_labels).
    """
    found: dict[str, list[Floats]] = {name: [] for name in names}
    for i in range(0, len(texts), _BATCH):
        docs: list[Doc] = [nlp.make_doc(text) for text in texts[i : i + _BATCH]]
        for name, pipe in nlp.pipeline:
            if isinstance(pipe, Classifier) and name in found:
                temperature = TemperatureAttrs.of(pipe.model).temperature
                logits = numpy.stack([answer["logits"] for answer in pipe.soft_targets(docs)[1]])
                found[name].append(soften(numpy, logits, 1 / temperature, pipe.exclusive))
            if name in rows:
                pipe.set_annotations(docs, rows[name].encode(pipe.model, docs))  # type: ignore[attr-defined]
            else:
                docs = list(pipe.pipe(docs)) if hasattr(pipe, "pipe") else [pipe(doc) for doc in docs]
    return {name: numpy.concatenate(parts) for name, parts in found.items()}


class TaughtHead:
    """A classifier whose labels are a teacher's probabilities: what `start_from_maxent` takes.

    answers (Floats2d): Of the texts in their order, shape (n_texts, n_labels).
    """

    def __init__(self, head: Classifier, answers: Floats) -> None:
        self.name, self.model, self.labels = head.name, head.model, head.labels
        self._exclusive, self._answers, self._at = head.exclusive, answers, 0

    name: str
    model: Model
    labels: Sequence[str]

    def is_labelled(self, example: Example) -> bool:
        """RETURNS (bool): Always True: the teacher has answered to each."""
        return True

    def weigh(self, examples: list[Example]) -> Evidence:
        """RETURNS (Evidence): The probabilities for the next examples."""
        answers = self._answers[self._at : self._at + len(examples)]
        self._at += len(examples)
        return weigh(answers, numpy.ones_like(answers), None, 0.0, self._exclusive)


def _examples(nlp: Language, texts: Sequence[str]) -> Iterator[Example]:
    for text in texts:
        doc = nlp.make_doc(text)
        yield Example(doc, doc.copy())
