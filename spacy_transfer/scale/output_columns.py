"""Columns of the output: what is taken from an annotated doc, under which name, and of which type."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc, Span
from thinc.api import get_current_ops

from ..errors import Errors, WrongUsage
from ..pipeline.heads.entity_decoding import confidence
from ..pipeline.heads.regressor import TransferRegressor
from ..types import Config, pipes_of

Get = Callable[[Doc], Any]


class Column(NamedTuple):
    """needs (str): What a component must assign for it to have a content; empty for what every pipeline gives.
    arrow (str): Its type: a name of pyarrow's types, with [] for a list and {} for a map; or the fields of a struct.
    attributes (Sequence[str]): Attributes of tokens that hold it in .spacy files.
    """

    needs: str
    arrow: str
    attributes: tuple[str, ...] = ()


_SPAN = "start:int64 end:int64 label:string text:string"
COLUMNS = {
    "text": Column("", "string"),
    "labels": Column("doc.cats", "string[]"),
    "scores": Column("doc.cats", "float64{}"),
    "entities": Column("doc.ents", f"{_SPAN} score:float64", ("ENT_IOB", "ENT_TYPE", "ENT_ID", "ENT_KB_ID")),
    "spans": Column("doc.spans", f"key:string {_SPAN}"),
    "numbers": Column("doc._", "float64{}"),
    "sentences": Column("token.is_sent_start", "start:int64 end:int64", ("SENT_START",)),
    "tokens": Column("", "string[]"),
    "tags": Column("token.tag", "string[]", ("TAG",)),
    "pos": Column("token.pos", "string[]", ("POS",)),
    "morphs": Column("token.morph", "string[]", ("MORPH",)),
    "lemmas": Column("token.lemma", "string[]", ("LEMMA",)),
    "heads": Column("token.head", "int64[]", ("HEAD",)),
    "deps": Column("token.dep", "string[]", ("DEP",)),
    "vectors": Column("doc.tensor", "float32[]"),
}
"""By name, in the order of the output."""
OWN = ("id", "meta")
"""Columns that every row has."""
_BY_DEFAULT = ("text", "labels", "scores", "entities", "spans", "numbers", "tags", "pos", "lemmas", "heads", "deps")


def choose_columns(nlp: Language, names: Sequence[str], *, docs: bool) -> list[str]:
    """Names of the columns, checked against the pipeline.

    names (Sequence[str]): Those that were asked for; empty for all that the pipeline has and that are no large arrays.
    docs (bool): The output is .spacy files, which hold no vectors.
    RAISES (ValueError): When there is no such column, or the pipeline does not fill it.
    """
    has = [name for name in COLUMNS if _is_filled(nlp, name) and not (docs and name == "vectors")]
    for name in names:
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=3) or list(COLUMNS)
            raise WrongUsage(Errors.T966.format(name=name, near=", ".join(near)))
        if name not in has:
            why = "it stands in no .spacy file: take --format parquet" if docs and name == "vectors" else ""
            why = why or f"no component of {nlp.pipe_names} sets {COLUMNS[name].needs}"
            raise ValueError(Errors.T967.format(name=name, why=why, has=", ".join(has)))
    return [name for name in COLUMNS if name in (names or [name for name in has if name in _BY_DEFAULT])]


def getters(nlp: Language, names: Sequence[str]) -> dict[str, Get]:
    """RETURNS (Dict[str, Callable[[Doc], Any]]): By column, what it has for a doc."""
    numbers = _numbered(nlp)
    found: dict[str, Get] = {
        "text": lambda doc: doc.text,
        "labels": _make_labels(nlp),
        "scores": lambda doc: {label: float(score) for label, score in doc.cats.items()},
        "entities": _entities,
        "spans": lambda doc: [{"key": key, **_span(span)} for key, group in doc.spans.items() for span in group],
        "numbers": lambda doc: _numbers(doc, numbers),
        "sentences": lambda doc: [{"start": sent.start_char, "end": sent.end_char} for sent in doc.sents],
        "tokens": lambda doc: [token.text for token in doc],
        "tags": lambda doc: [token.tag_ for token in doc],
        "pos": lambda doc: [token.pos_ for token in doc],
        "morphs": lambda doc: [str(token.morph) for token in doc],
        "lemmas": lambda doc: [token.lemma_ for token in doc],
        "heads": lambda doc: [token.head.i for token in doc],
        "deps": lambda doc: [token.dep_ for token in doc],
        "vectors": lambda doc: get_current_ops().to_numpy(doc.vector).tolist(),
    }
    return {name: found[name] for name in names}


def _is_filled(nlp: Language, name: str) -> bool:
    needs = COLUMNS[name].needs
    if name == "vectors" and nlp.vocab.vectors_length:
        return True
    if name == "numbers":
        return bool(_numbered(nlp))
    pipes = [name for name, pipe in nlp.pipeline if needs != "doc.tensor" or getattr(pipe, "keep_rows", True)]
    assigned = {value for pipe in pipes for value in nlp.get_pipe_meta(pipe).assigns}
    # The parser and the senter name the attribute, the sentencizer the sentences.
    if name == "sentences":
        return bool({"token.is_sent_start", "doc.sents"} & assigned)
    return not needs or needs in assigned or any(value.startswith(f"{needs}[") for value in assigned)


def _numbered(nlp: Language) -> list[str]:
    """Attributes of docs that regressors write to."""
    pipes = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TransferRegressor)]
    return [pipe.targets.attribute for pipe in pipes if pipe.targets.spans_key is None]


def _numbers(doc: Doc, attributes: Sequence[str]) -> Config:
    found: Config = {}
    for attribute in attributes:
        value = doc._.get(attribute)
        if isinstance(value, dict):
            found |= {f"{attribute}.{name}": float(number) for name, number in value.items()}
        elif value is not None:
            found[attribute] = float(value)
    return found


def _make_labels(nlp: Language) -> Get:
    """For labels that exclude each other the likeliest, otherwise all whose scores reach their thresholds."""
    pipes = [pipe for name, pipe in pipes_of(nlp) if "doc.cats" in nlp.get_pipe_meta(name).assigns]

    def labels(doc: Doc) -> list[str]:
        found = []
        for pipe in pipes:
            scores = {label: doc.cats[label] for label in pipe.labels if label in doc.cats}
            if isinstance(pipe, MultiLabel_TextCategorizer):
                own, common = pipe.cfg.get("thresholds") or {}, pipe.cfg["threshold"]
                found += [label for label, score in scores.items() if score >= own.get(label, common)]
            elif scores:
                found.append(max(scores, key=scores.__getitem__))
        return found

    return labels


def _span(span: Span) -> Config:
    return {"start": span.start_char, "end": span.end_char, "label": span.label_, "text": span.text}


def _entities(doc: Doc) -> list[Config]:
    return [{**_span(ent), "score": confidence(ent)} for ent in doc.ents]
