"""Texts of an old task: annotated ones from a reader or a file, or raw ones with a pipeline's own answers."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example

from ..corpora.docs import read_examples
from ..corpora.texts import read_texts
from ..corpora.twins import copy_for, copy_tokens
from ..errors import Errors

Data = Callable[[Language], Iterable[Example]] | Path | str


def read_data(nlp: Language, data: Data, key: str) -> Iterator[Example]:
    """Read texts.

    nlp (Language): Gives the vocabulary and the tokenizer.
    data (Union[Callable, Path, str]): A reader; or a .spacy file or a folder with such; or raw text, see `read_texts`.
    key (str): Where it was named, for messages.
    YIELDS (Example): Raw texts without annotation.
    RAISES (ValueError): When there is no such file, or it cannot be read.
    """
    if callable(data):
        yield from data(nlp)
        return
    path = Path(data)
    if not path.exists():
        raise ValueError(Errors.T682.format(key=key, path=path))
    if not is_raw(path):
        yield from read_examples(nlp, path)
        return
    for text in read_texts(path, key):
        yield Example(nlp.make_doc(text), nlp.make_doc(text))


def is_raw(data: Data) -> bool:
    """RETURNS (bool): Whether texts come without annotation, for all that names of files tell."""
    if callable(data):
        return False
    path = Path(data)
    return next(path.rglob("*.spacy"), None) is None if path.is_dir() else path.suffix != ".spacy"


def own_answers(nlp: Language, examples: Iterable[Example]) -> list[Example]:
    """Examples whose gold side is what a pipeline says of them. Categories are taken as it would decide.

    nlp (Language): The pipeline.
    examples (Iterable[Example]): The texts; their annotation is not looked at.
    RETURNS (List[Example]): In their order.
    """
    docs = [bare_doc(example.predicted, nlp) for example in examples]
    answers = list(nlp.pipe([doc.copy() for doc in docs]))
    deciders = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    for answer in answers:
        answer.cats = {**answer.cats, **_decided(answer, deciders)}
    return [Example(doc, answer) for doc, answer in zip(docs, answers, strict=True)]


def fingerprint(docs: Iterable[Doc], labels: Iterable[str]) -> str:
    """What is said of texts, whatever order they have.

    docs (Iterable[Doc]): The texts, with annotation.
    labels (Iterable[str]): Those of entities that are looked at.
    RETURNS (str): sha256, 64 hex digits.
    """
    said = []
    for doc in docs:
        found = doc.to_json()
        # Of real numbers the last digits hang on the machine.
        found["cats"] = {label: round(score, 3) for label, score in found.get("cats", {}).items()}
        said.append(json.dumps(found, sort_keys=True))
    return hashlib.sha256(json.dumps([sorted(said), sorted(labels)]).encode()).hexdigest()


def _decided(doc: Doc, deciders: Sequence[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pipe in deciders:
        scores = {label: doc.cats[label] for label in pipe.labels if label in doc.cats}
        if isinstance(pipe, MultiLabel_TextCategorizer):
            own = getattr(pipe, "thresholds", {})
            least = {label: own.get(label, pipe.cfg.get("threshold", 0.5)) for label in scores}
            found |= {label: float(score >= least[label]) for label, score in scores.items()}
        elif scores:
            best = max(scores, key=lambda label: scores[label])
            found |= {label: float(label == best) for label in scores}
    return found


def bare_doc(doc: Doc, nlp: Language) -> Doc:
    """The tokens alone, as a reader gives them to a pipeline: they know what tokens such as "n't" stand for (NORM)
    where the tokenizer made the doc; where it is made of words (gold_preproc, or spaces that are not known), they do
    not.

    doc (Doc): As a reader gave it.
    nlp (Language): The pipeline.
    RETURNS (Doc): In the vocabulary of the pipeline.
    """
    if any(token.norm != token.lex.norm for token in doc):
        return copy_for(doc, nlp)
    return copy_tokens(doc, nlp.vocab)
