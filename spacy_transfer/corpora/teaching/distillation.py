"""Teacher.v1: examples with the answers of a teacher (distillation)."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.util import logger

from ...errors import Errors, Warnings
from ..doc_copies import copy_with_info
from ..example_info import set_soft, soft_of
from .annotate import Filter, annotate, set_entities
from .answers import CATS, WRITTEN, Answer, Ask
from .kept_out import RawTextFiles
from .pairing import (
    as_pairs,
    cats_for,
    check_here,
    check_map,
    check_others,
    check_soft,
    check_written,
    renamed,
    translated,
)
from .teacher import Teacher

Reader = Callable[[Language], Iterable[Example]]


def create_teacher_v1(
    *,
    source: str,
    components: list[str] | dict[str, str],
    corpus: Callable[[Language], Iterable[Example]] | None = None,
    texts: Path | None = None,
    temperature: float = 2.0,
    weight: float = 0.5,
    hard: bool = True,
    partial: bool = False,
    label_map: dict[str, str] = {},  # noqa: B006 (confection needs a dict; it is only read)
    field: str = "text",
    held_out: Path | None = None,
    cache: Path | None = None,
    key: str = "corpora.train",
) -> Callable[[Language], Iterable[Example]]:
    """Examples, and with each what a teacher makes of it: a pipeline that is better or slower than the one in training
    (distillation, Hinton et al. 2015), or the one that training starts from, while it learns something else (learning
    without forgetting, Li and Hoiem 2016). The teacher reads each text once, in any number of epochs.

    The loss of a component becomes (1 - weight) * that of the annotation + weight * T ** 2 * cross-entropy with the
    teacher's softened scores. Both are settings of the reader, not of the component: the trained pipeline does not
    refer to its teacher.

    Students: `transfer_textcat` and `transfer_textcat_multilabel` from text classifiers of their kind, spaCy's or
    ours; `transfer_tagger` and `transfer_ner` from `transfer_tagger`, `transfer_ner` and spaCy's tagger;
    `transfer_rows` from a backbone or tok2vec, whose rows it matches (Romero et al. 2015). Labels go by their names.

    source (str): The teacher: a name or folder of a pipeline.
    components (Union[List[str], Dict[str, str]]): Those that learn, if the teacher has them under the same names; or
        the names there, by those here.
    corpus (Optional[Callable[[Language], Iterable[Example]]]): What is learned from: any reader.
    texts (Optional[Path]): Raw texts in its place: .txt and any other file with a text on each line, .jsonl, .spacy, or
        a folder.
    temperature (float): T, above 0.
    weight (float): Of the teacher, between 0 and 1. For rows, on which there is no annotation, of their loss.
    hard (bool): Where a text has no annotation for a component, write the teacher's.
    partial (bool): Whether the component may have labels that the teacher lacks: new ones. It is taught the shares of
        the old labels among themselves, and the annotation teaches the new.
    label_map (Dict[str, str]): Names of labels here, by the teacher's, where they differ.
    field (str): Key of the text in .jsonl.
    held_out (Optional[Path]): Texts of a test set, in files as those of `texts`. Raw texts that are among them are left
        out, with a warning.
    cache (Optional[Path]): Folder for the answers; null for the user's cache folder.
    key (str): Key of this block in the config, for messages.
    RETURNS (Callable[[Language], Iterable[Example]]): The reader.
    """
    if (corpus is None) == (texts is None):
        raise ValueError(Errors.T547.format(key=key))
    if not 0.0 < temperature < float("inf"):
        raise ValueError(Errors.T546.format(key=key, setting="temperature", found=temperature, wanted="above 0"))
    if not 0.0 <= weight <= 1.0:
        raise ValueError(Errors.T546.format(key=key, setting="weight", found=weight, wanted="between 0 and 1"))
    pairs = as_pairs(components)
    if not pairs:
        raise ValueError(Errors.T546.format(key=key, setting="components", found=components, wanted="one name or more"))
    others = tuple(sorted(set(pairs.values())))
    teacher = Teacher(source, Ask(hard=others if hard else (), soft=others), key=key, cache=cache)
    read: Reader = corpus if corpus is not None else Texts(RawTextFiles(texts, field, key, held_out))  # type: ignore[arg-type]
    settings = {"temperature": temperature, "weight": weight, "partial": partial}
    return Distillation(read, teacher, pairs, dict(label_map), settings)


class Texts:
    """Examples of raw texts: without annotation.

    texts (RawTextFiles): The texts.
    """

    def __init__(self, texts: RawTextFiles) -> None:
        self.texts = texts

    def __call__(self, nlp: Language) -> Iterator[Example]:
        for text in self.texts:
            doc = nlp.make_doc(text)
            yield Example(doc, doc.copy())


class Distillation:
    """Examples with a teacher's answers in their marks; see `create_teacher_v1`.

    pairs (Dict[str, str]): Components there, by those here.
    label_map (Dict[str, str]): Names of labels here, by those there.
    settings (Dict[str, Any]): "temperature", "weight", "partial", for the loss.
    """

    def __init__(
        self,
        corpus: Reader,
        teacher: Teacher,
        pairs: dict[str, str],
        label_map: dict[str, str],
        settings: dict[str, float | bool],
    ) -> None:
        self.corpus, self.teacher, self.pairs = corpus, teacher, pairs
        self.label_map, self.settings = label_map, settings
        self._has_warned = False

    def __call__(self, nlp: Language) -> Iterator[Example]:
        check_here(nlp, list(self.pairs), self.teacher)
        check_soft(nlp, self.pairs, self.teacher)
        writing = {name: other for name, other in self.pairs.items() if self._writes(other)}
        check_written(nlp, writing, self.teacher)
        check_map(self.label_map, self.pairs, self.teacher)
        if isinstance(self.corpus, Texts):
            check_others(nlp, list(self.pairs), self.teacher.key)
        shared = {
            name: renamed(self.teacher.shared[other], self.label_map, name, self.teacher.key)
            for name, other in self.pairs.items()
        }
        n_texts = n_other = 0
        for example, answers in self.teacher.annotate(self.corpus(nlp), lambda eg: eg.predicted):
            n_texts += 1
            taught = Example(example.predicted, copy_with_info(example.reference))
            n_other += self._teach(nlp, taught, answers, shared)
            yield taught
        if n_other and not self._has_warned:
            self._has_warned = True
            logger.warning(Warnings.W541.format(key=self.teacher.key, count=n_other, total=n_texts))

    def _writes(self, other: str) -> bool:
        return other in self.teacher.ask.hard and bool(set(self.teacher.shared[other]["assigns"]) & set(WRITTEN))

    def _teach(self, nlp: Language, example: Example, answers: dict[str, Answer], shared: dict[str, Answer]) -> bool:
        """Whether something was left out, since the annotation has other tokens."""
        reference = example.reference
        same = len(reference) == len(example.predicted) and numpy.array_equal(
            reference.to_array("ORTH"), example.predicted.to_array("ORTH")
        )
        left, cats = False, dict(reference.cats)
        for name, other in self.pairs.items():
            answer, about = answers[other], shared[name]
            if not answer:
                continue
            if self._writes(other):
                left |= not self._write(example, answer, about, same, cats_for([name], nlp, cats))
            if soft_of([example], name)[0] is not None:
                raise ValueError(Errors.T559.format(key=self.teacher.key, name=name))
            set_soft(reference, name, {"teacher": about, **answer["scores"], **self.settings})
        return left

    def _write(self, example: Example, answer: Answer, about: Answer, same: bool, cats: dict[str, float]) -> bool:
        if CATS not in about["assigns"] and not same:
            return False
        found = translated({**answer, "thresholds": about.get("thresholds", {})}, self.label_map)
        annotate(example.reference, found, about["exclusive"], Filter(), cats)
        if "ents" in found and not example.reference.has_annotation("ENT_IOB"):
            set_entities(example.reference, found, Filter(), outside=True)
        return True
