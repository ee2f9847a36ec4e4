"""Answers of a component about docs: its annotation, confidence and scores, as arrays, numbers and strings."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy
from spacy.pipeline import EntityRecognizer, Tagger, TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc, Token

from ...types import AnyModel, Config, Floats, Pipe

Answer = Config
WORDS = {"token.tag": "tag_", "token.pos": "pos_", "token.morph": "morph", "token.lemma": "lemma_"}
"""Token attributes: spaCy's name in `assigns`, and the attribute."""
TREE, STARTS, ENTS, CATS, ROWS = "token.dep", "token.is_sent_start", "doc.ents", "doc.cats", "doc.tensor"
WRITTEN = (*WORDS, TREE, STARTS, ENTS, CATS)
FORMAT = 3
"""Goes up when answers become others, so that those on disk are not taken for them."""
BEAM = {"beam_width": 16, "beam_density": 1e-4}


@dataclass(frozen=True)
class Ask:
    """Components that are asked for annotation (`hard`), with probabilities (`confidence`), and for scores (`soft`)."""

    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    confidence: bool = False

    @property
    def names(self) -> list[str]:
        """RETURNS (List[str]): All components."""
        return sorted({*self.hard, *self.soft})


def annotation(assigns: Sequence[str], doc: Doc, known: Collection[str] = ()) -> Answer:
    """The annotation of a component.

    known (Collection[str]): Its labels; none where it does not tell. Of entities and categories others may stand on the
        doc, of components of the same kind: they are not its answer.
    RETURNS (Answer): By attribute: values of tokens (strings), "heads" with "deps", "starts", "ents" (first token,
        token after the last, label), "others" (the same of entities of other components), "cats". An attribute that is
        empty everywhere is left out.
    """
    found: Answer = {}
    for name, attribute in WORDS.items():
        values = [_word(token, attribute) for token in doc] if name in assigns else []
        if any(values):
            found[name] = values
    if TREE in assigns and doc.has_annotation("DEP"):
        found["heads"], found["deps"] = [token.head.i for token in doc], [token.dep_ for token in doc]
    elif STARTS in assigns and doc.has_annotation("SENT_START"):
        found["starts"] = [bool(token.is_sent_start) for token in doc]
    if ENTS in assigns:
        ents = [[ent.start, ent.end, ent.label_] for ent in doc.ents]
        found["ents"] = [ent for ent in ents if not known or ent[2] in known]
        if others := [ent for ent in ents if ent not in found["ents"]]:
            found["others"] = others
    if CATS in assigns:
        cats = {label: float(score) for label, score in doc.cats.items() if not known or label in known}
        if cats:
            found["cats"] = cats
    return found


def _word(token: Token, attribute: str) -> str:
    """A morphology that is known to have no features is written as CoNLL-U does; one that is not known is empty."""
    if attribute == "morph":
        return str(token.morph) or ("_" if token.has_morph() else "")
    return str(getattr(token, attribute))


def softness(pipe: Pipe, assigns: Sequence[str]) -> str | None:
    """Of which kind the scores of a component are.

    RETURNS (Optional[str]): "labels" of docs, "tags" of tokens, "rows" of tokens; None for a component without.
    """
    kind = getattr(pipe, "takes_soft", None)
    if kind is not None:
        return kind if hasattr(pipe, "soft_targets") else None
    if ROWS in assigns:
        return "rows"
    if isinstance(pipe, TextCategorizer):
        return "labels"
    return "tags" if type(pipe) is Tagger else None


def scores(pipe: Pipe, kind: str, docs: Sequence[Doc]) -> tuple[Answer, list[Answer]]:
    """The scores of a component on docs. Rows must be there already.

    kind (str): See `softness`.
    docs (Sequence[Doc]): The docs, with what components before it have written.
    RETURNS (Tuple[Answer, List[Answer]]): What is the same for all docs, such as "labels" in the order of columns; and
        for each doc "logits" of shape (n_labels,) or (n_tokens, n_labels), or "rows" of shape (n_tokens, width).
    """
    if kind == "rows":
        ops = pipe.model.ops
        return {"kind": kind}, [{"rows": ops.to_numpy(doc.tensor).astype("float16")} for doc in docs]
    if hasattr(pipe, "soft_targets"):
        shared, each = pipe.soft_targets(docs)
        return {"kind": kind, **shared}, each
    if kind == "labels":
        values = pipe.model.ops.to_numpy(pipe.predict(docs)).astype("d")
        exclusive = not isinstance(pipe, MultiLabel_TextCategorizer)
        logits = numpy.log(numpy.maximum(values, 1e-12))
        if not exclusive:
            logits -= numpy.log(numpy.maximum(1.0 - values, 1e-12))
        shared = {"kind": kind, "labels": list(pipe.labels), "exclusive": exclusive}
        return shared, [{"logits": row.astype("f")} for row in logits]
    found = [pipe.model.ops.to_numpy(rows) for rows in pipe.model.predict(list(docs))] if docs else []
    if not _gives_logits(pipe.model):
        found = [numpy.log(numpy.maximum(rows, 1e-12)) for rows in found]
    return {"kind": kind, "labels": list(pipe.labels)}, [{"logits": rows.astype("f")} for rows in found]


def _gives_logits(model: AnyModel) -> bool:
    """spaCy's tagger does not normalize what it predicts, unless it is told to."""
    return any(node.attrs.get("softmax_normalize") is False for node in model.walk())


def confidences(pipe: Pipe, docs: Sequence[Doc]) -> list[Answer] | None:
    """The probabilities of a component, before it annotates.

    RETURNS (Optional[List[Answer]]): For each doc "tokens": of each token the probability of its most likely tag;
        "ents": of spans with their labels; "outside": of each token the probability to be in no entity. None for a
        component that has no probabilities (those of categories stand in `doc.cats`).
    """
    if hasattr(pipe, "tag_confidences"):
        found: list[Answer] = pipe.tag_confidences(docs)
        return found
    if isinstance(pipe, EntityRecognizer):
        # A beam over what the greedy parse chooses from: about twice its time.
        found = pipe.scored_ents(pipe.beam_parse(list(docs), drop=0.0, **BEAM)) if docs else []
        return [_of_beam(scored, len(doc)) for scored, doc in zip(found, docs, strict=True)]
    if type(pipe) is Tagger:
        _, each = scores(pipe, "tags", docs)
        highest = [_softmax(answer["logits"]).max(axis=1, initial=0.0) for answer in each]
        return [{"tokens": values} for values in highest]
    return None


def _of_beam(scored: dict[tuple[int, int, str], float], n_tokens: int) -> Answer:
    outside = numpy.ones(n_tokens)
    for (start, end, _), score in scored.items():
        outside[start:end] -= score
    ents = [[start, end, label, float(score)] for (start, end, label), score in scored.items()]
    return {"ents": ents, "outside": numpy.clip(outside, 0.0, 1.0).astype("f")}


def _softmax(logits: Floats) -> Floats:
    weights: Floats = numpy.exp(logits - logits.max(axis=1, keepdims=True, initial=-numpy.inf))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
