"""Texts of an old task: annotated ones from a reader or a file, or raw ones with a pipeline's own predictions."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example

from ..corpora.doc_copies import copy_for, copy_tokens
from ..corpora.docs import read_examples
from ..corpora.texts import read_texts
from ..errors import Errors

Data = Callable[[Language], Iterable[Example]] | Path | str


def read_data(nlp: Language, data: Data, key: str) -> Iterator[Example]:
    """Read texts.

    nlp (Language): Gives the vocabulary and the tokenizer.
    data (Union[Callable, Path, str]): A reader; or a .spacy file or a folder with such; or raw text, see `read_texts`.
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
    """RETURNS (bool): Whether texts come without annotation, by the names of the files."""
    if callable(data):
        return False
    path = Path(data)
    return next(path.rglob("*.spacy"), None) is None if path.is_dir() else path.suffix != ".spacy"


def own_answers(nlp: Language, examples: Iterable[Example]) -> list[Example]:
    """Examples whose gold side is what a pipeline predicts. Categories are 0 or 1, by its thresholds.

    examples (Iterable[Example]): The texts; their annotation is not used.
    """
    docs = [bare_doc(example.predicted, nlp) for example in examples]
    answers = list(nlp.pipe([doc.copy() for doc in docs]))
    deciders = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    for answer in answers:
        answer.cats = {**answer.cats, **_decided(answer, deciders)}
    return [Example(doc, answer) for doc, answer in zip(docs, answers, strict=True)]


def fingerprint(docs: Iterable[Doc], labels: Iterable[str]) -> str:
    """A fingerprint of annotated texts, in any order.

    RETURNS (str): sha256, 64 hex digits.
    """
    annotations = []
    for doc in docs:
        found = doc.to_json()
        # The last digits of a score differ between machines.
        found["cats"] = {label: round(score, 3) for label, score in found.get("cats", {}).items()}
        annotations.append(json.dumps(found, sort_keys=True))
    return hashlib.sha256(json.dumps([sorted(annotations), sorted(labels)]).encode()).hexdigest()


def _decided(doc: Doc, deciders: Sequence[TextCategorizer]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pipe in deciders:
        scores = {label: doc.cats[label] for label in pipe.labels if label in doc.cats}
        # A NaN decides nothing: `max` would choose it, and no threshold is below it.
        if any(map(math.isnan, scores.values())):
            raise ValueError(Errors.T691.format(name=pipe.name, text=doc.text[:80]))
        if isinstance(pipe, MultiLabel_TextCategorizer):
            own, common = getattr(pipe, "thresholds", {}), pipe.cfg.get("threshold", 0.5)
            found |= {label: float(score >= own.get(label, common)) for label, score in scores.items()}
        elif scores:
            best = max(scores, key=lambda label: scores[label])
            found |= {label: float(label == best) for label in scores}
    return found


def bare_doc(doc: Doc, nlp: Language) -> Doc:
    """A copy of the tokens without annotation. Tokens such as "n't" keep the NORM that the tokenizer has given them. A
    doc that was made of words (gold_preproc, or unknown spaces) has none.

    RETURNS (Doc): In the vocabulary of the pipeline.
    """
    if any(token.norm != token.lex.norm for token in doc):
        return copy_for(doc, nlp)
    return copy_tokens(doc, nlp.vocab)
