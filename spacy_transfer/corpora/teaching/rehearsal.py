"""Rehearsal.v1: new data, mixed with answers of the starting pipeline against forgetting."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from spacy.language import Language
from spacy.training import Example
from spacy.util import logger

from ...errors import Errors, Warnings
from ..doc_copies import copy_with_info
from ..example_info import note_origin, set_open
from .annotate import Filter, annotate, deny_entities, set_entities
from .answers import CATS, ENTS, Answer, Ask
from .kept_out import RawTextFiles
from .new_entities import NewEntities
from .pairing import as_pairs, cats_for, check_here, check_labels, check_map, check_others, check_written, translated
from .teacher import Teacher

Reader = Callable[[Language], Iterable[Example]]
NAME = "rehearsal"


def create_rehearsal_v1(
    *,
    corpus: Callable[[Language], Iterable[Example]],
    source: str,
    components: list[str] | dict[str, str],
    texts: Path | None = None,
    ratio: float = 1.0,
    rounds: int = 1,
    min_confidence: float = 0.0,
    complete: bool = True,
    new_labels: list[str] = [],  # noqa: B006 (confection needs a list; it is only read)
    new_in_texts: bool = True,
    beside: bool = False,
    label_map: dict[str, str] = {},  # noqa: B006 (the same)
    field: str = "text",
    held_out: Path | None = None,
    cache: Path | None = None,
    key: str = "corpora.train",
) -> Callable[[Language], Iterable[Example]]:
    """Training data of something new, and beside it what another pipeline (the one that training starts from, in most
    cases) says of raw texts, so that it stays known (rehearsal, Robins 1995; with its own answers in the place of old
    data, as in Li and Hoiem 2016). Each text is annotated once, in any number of epochs, and kept on disk.

    New data forgets in a second way: its "outside" is said where the starting pipeline would find an entity. With
    `complete` such tokens get that entity, or are left missing below `min_confidence`.

    Annotation of new data is never contradicted. On its own texts that is every label of its entities, in raw texts
    those that the source does not have, and everywhere `new_labels`: an entity of such a label is not rehearsed, its
    tokens are missing; and so are words in raw texts that the new data calls such an entity somewhere. For
    `transfer_ner`, "outside" in raw texts means "no old label, perhaps a new one".

    corpus (Callable[[Language], Iterable[Example]]): The new data: any reader.
    source (str): The pipeline: a name or folder.
    components (Union[List[str], Dict[str, str]]): Those to rehearse, by the names that they have in both; or the names
        in the source, by those here. Taggers, morphologizers, lemmatizers, parsers, recognizers of sentences and of
        entities, and text classifiers can be. Nothing else learns from the raw texts.
    texts (Optional[Path]): Raw texts: .txt and any other file with a text on each line, .jsonl, .spacy, or a folder. If
        they run out within an epoch, they begin again. Null for none: then the new data is completed, no more.
    ratio (float): Rehearsed texts for each new one.
    rounds (int): How often the new data comes in one reading, beside other texts each time. spaCy reads once and then
        goes through what it has read again and again, so that one round has no more than `ratio` texts for each new
        one. With training.max_epochs = -1 it reads anew, and each reading goes on where the last one stopped.
    min_confidence (float): The least probability of what is taken; below, annotation is left missing. For spaCy's own
        ner it comes from a beam (about twice the time), its parser and morphologizer have none.
    complete (bool): Fill in what the new data leaves out, on its texts too.
    new_labels (List[str]): More labels of entities that the new data decides on: old ones that mean the same as new
        ones, or another thing than they did.
    new_in_texts (bool): Whether raw texts may hold entities of new labels. False says that they are of another kind,
        the old task's own texts, say: what the source calls "outside" there is outside, and words of new entities are
        what it calls them. So old and new labels do not compete for one text.
    beside (bool): The recognizer of entities that learns has the new labels alone, and works beside that of the source,
        which stays as it is. It learns from raw texts that what the source finds there is nothing new: such tokens are
        "outside", of all others nothing is said, and texts without any are passed over. With `new_in_texts` false all
        tokens are "outside". New data is not completed.
    label_map (Dict[str, str]): Names of labels here, by those in the source, where they differ. Several labels of
        entities may become one. `new_labels` are names here.
    field (str): Key of the text in .jsonl.
    held_out (Optional[Path]): Texts of a test set, in files as those of `texts`. Raw texts that are among them are left
        out, with a warning.
    cache (Optional[Path]): Folder for the answers; null for the user's cache folder.
    key (str): Key of this block in the config, for messages.
    RETURNS (Callable[[Language], Iterable[Example]]): The reader.
    """
    if not ratio >= 0.0 or ratio == float("inf"):
        raise ValueError(Errors.T546.format(key=key, setting="ratio", found=ratio, wanted="0 or more"))
    if not 0.0 <= min_confidence <= 1.0:
        wanted = "between 0 and 1"
        raise ValueError(Errors.T546.format(key=key, setting="min_confidence", found=min_confidence, wanted=wanted))
    pairs = as_pairs(components)
    if not pairs:
        raise ValueError(Errors.T546.format(key=key, setting="components", found=components, wanted="one name or more"))
    if rounds < 1:
        raise ValueError(Errors.T546.format(key=key, setting="rounds", found=rounds, wanted="1 or more"))
    ask = Ask(hard=tuple(sorted(set(pairs.values()))), confidence=min_confidence > 0.0)
    teacher = Teacher(source, ask, key=key, cache=cache)
    raw = None if texts is None or ratio == 0.0 else RawTexts(RawTextFiles(texts, field, key, held_out), ratio)
    options = Options(
        rounds=rounds,
        least=min_confidence,
        complete=complete and not beside,
        new_labels=frozenset(new_labels),
        new_in_texts=new_in_texts,
        beside=beside,
        label_map=dict(label_map),
    )
    return Rehearsal(corpus, teacher, pairs, raw, options)


@dataclass(frozen=True)
class Options:
    """The settings of `create_rehearsal_v1` that decide what is taken of an answer. `least` is `min_confidence`."""

    rounds: int
    least: float
    complete: bool
    new_labels: frozenset[str]
    new_in_texts: bool
    beside: bool
    label_map: dict[str, str]


@dataclass(frozen=True)
class RawTexts:
    """A source of raw texts, and how many come with each example of the new data."""

    files: RawTextFiles
    ratio: float


class Rehearsal:
    """New examples, and rehearsed ones evenly between them; see `create_rehearsal_v1`.

    pairs (Dict[str, str]): Components there, by those here.
    """

    def __init__(
        self, corpus: Reader, teacher: Teacher, pairs: dict[str, str], raw: RawTexts | None, options: Options
    ) -> None:
        self.corpus, self.teacher, self.pairs, self.raw, self.options = corpus, teacher, pairs, raw, options
        self._new_entities: NewEntities | None = None
        self._has_warned = False
        self._start = self._place = 0  # Among the raw texts: where a reading begins, and where it is.

    def __call__(self, nlp: Language) -> Iterator[Example]:
        self._check(nlp)
        news = self._known(nlp)
        rehearsed = self._rehearse(
            nlp, Filter(self.options.least, news.labels if self.options.new_in_texts else self.options.new_labels)
        )
        due = 0.0
        for _ in range(self.options.rounds):
            for example in self._complete(nlp, Filter(self.options.least, self.options.new_labels | news.all_labels)):
                yield example
                due += 0.0 if self.raw is None else self.raw.ratio
                # Sums of 0.1 and its like come out a little below a whole number.
                while due >= 1.0 - 1e-9:
                    due -= 1.0
                    yield next(rehearsed)
        if nlp.config["training"].get("max_epochs") == -1:
            self._start = self._place

    def _check(self, nlp: Language) -> None:
        key = self.teacher.key
        check_here(nlp, list(self.pairs), self.teacher)
        check_written(nlp, self.pairs, self.teacher)
        check_map(self.options.label_map, self.pairs, self.teacher)
        check_labels(nlp, self.pairs, self.teacher, self.options.label_map)
        silent = [other for other in self.pairs.values() if ENTS not in self.teacher.shared[other]["assigns"]]
        if self.options.beside and silent:
            wanted = f"false for what finds no entities: {', '.join(silent)}"
            raise ValueError(Errors.T546.format(key=key, setting="beside", found=True, wanted=wanted))
        if self.raw is not None:
            check_others(nlp, list(self.pairs), key)
        for name in self.pairs:
            if self.options.least > 0.0 and nlp.get_pipe_meta(name).factory == "textcat":
                raise ValueError(Errors.T557.format(key=key, name=name, found=self.options.least))
        if self.options.least > 0.0 and not self._has_warned:
            self._has_warned = True
            for other in self.pairs.values():
                shared = self.teacher.shared[other]
                if not shared["probabilities"] and CATS not in shared["assigns"]:
                    logger.warning(Warnings.W540.format(key=key, name=other, source=self.teacher.source))

    def _known(self, nlp: Language) -> NewEntities:
        if self._new_entities is None or self._new_entities.vocab is not nlp.vocab:
            writes = [self.teacher.shared[other]["assigns"] for other in self.pairs.values()]
            finds = any(ENTS in assigns for assigns in writes)
            # Beside the source stands a recognizer that has all labels of the new data to itself.
            old = set() if self.options.beside else self._old_labels()
            self._new_entities = NewEntities(nlp, self.corpus(nlp) if finds else (), old, self.options.new_labels)
            if finds:
                self._check_new_labels(nlp, self._new_entities.all_labels)
        return self._new_entities

    def _check_new_labels(self, nlp: Language, there: frozenset[str]) -> None:
        shared = [self.teacher.shared[other] for other in self.pairs.values()]
        known = {self.options.label_map.get(label, label) for each in shared for label in each["known"]} | there
        known.update(*(getattr(nlp.get_pipe(name), "labels", ()) for name in self.pairs))
        for label in sorted(self.options.new_labels - known):
            near = get_close_matches(label, sorted(known), n=3, cutoff=0.4) or sorted(known)
            raise ValueError(Errors.T561.format(key=self.teacher.key, label=label, near=near))

    def _old_labels(self) -> set[str]:
        shared = [self.teacher.shared[other] for other in self.pairs.values()]
        known = {label for each in shared if ENTS in each["assigns"] for label in each["known"]}
        return {self.options.label_map.get(label, label) for label in known} - self.options.new_labels

    def _complete(self, nlp: Language, keep: Filter) -> Iterator[Example]:
        if not self.options.complete:
            yield from self.corpus(nlp)
            return
        for example, answers in self.teacher.annotate(self.corpus(nlp), lambda eg: eg.reference):
            # The reader may give the same doc once more: that must come as it was.
            reference = copy_with_info(example.reference)
            cats = dict(reference.cats)
            for answer, shared in self._said(answers):
                learners = [name for name, other in self.pairs.items() if other == shared["component"]]
                annotate(reference, answer, shared["exclusive"], keep, cats_for(learners, nlp, cats))
                if ENTS in shared["assigns"]:
                    set_entities(reference, answer, keep)
            yield Example(example.predicted, reference)

    def _rehearse(self, nlp: Language, keep: Filter) -> Iterator[Example]:
        start = self._start
        while self.raw is not None:
            found = False
            for example in self._rehearse_once(nlp, keep, self.raw, start):
                found = True
                yield example
            if not found and not start:
                others = ", ".join(self.pairs.values())
                raise ValueError(Errors.T554.format(key=self.teacher.key, path=self.raw.files.path, names=others))
            start = 0

    def _rehearse_once(self, nlp: Language, keep: Filter, raw: RawTexts, start: int) -> Iterator[Example]:
        texts = islice(enumerate(raw.files, 1), start, None)
        docs = ((place, nlp.make_doc(text)) for place, text in texts)
        for (place, doc), answers in self.teacher.annotate(docs, lambda item: item[1]):
            self._place = place
            reference = doc.copy()
            for answer, shared in self._said(answers):
                annotate(reference, answer, shared["exclusive"], keep, {})
                if ENTS in shared["assigns"]:
                    unknown = self._known(nlp).spans(reference) if self.options.new_in_texts else ()
                    set_entities(reference, answer, keep, unknown=unknown, outside=True)
            if self.options.beside and not deny_entities(reference, everywhere=not self.options.new_in_texts):
                continue
            note_origin(reference, NAME, list(self.pairs))
            for name, other in self.pairs.items():
                if ENTS in self.teacher.shared[other]["assigns"] and not self.options.beside:
                    set_open(reference, name, sorted(keep.decided))
            yield Example(doc, reference)

    def _said(self, answers: dict[str, Answer]) -> Iterator[tuple[Answer, Answer]]:
        for other in dict.fromkeys(self.pairs.values()):
            if answers[other]:
                shared = self.teacher.shared[other]
                answer = {**answers[other], "thresholds": shared.get("thresholds", {})}
                yield translated(answer, self.options.label_map), shared
