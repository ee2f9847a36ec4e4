"""One pass of a pipeline over texts: their rows, and how unsure its heads are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, cast

import numpy
from spacy import util
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.tokens import Doc

from ...corpora.teaching.answers import scores, softness
from ...errors import Errors
from ...heads.soft_losses import soften, tag_marginals
from ...heads.tagging.packing import Transitions
from ...pipeline.backbone.component import Backbone
from ...progress import progress
from ...types import Config, Floats, Pipe, pipes_of
from .unsure import Measure, nearness, of_classes, of_decisions

Over = Literal["most", "mean"]
"""How unsure a text is by its tokens: as its most unsure token, or as the mean."""


@dataclass(frozen=True)
class Scan:
    """What is kept of a pass. Docs are not: a text takes 4 bytes for each column of its row, and its guesses.

    rows (Optional[Floats]): A row of length 1 for each text, float32, shape (n, width); None where the pipeline has no
        rows.
    unsure (Optional[Floats]): Between 0 and 1, the mean over the heads, shape (n,); None without heads.
    guesses (List[Dict[str, str]]): By head: the two likeliest labels and their probabilities; of the most unsure token
        where it labels tokens.
    """

    rows: Floats | None
    unsure: Floats | None
    guesses: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.guesses)


class Judge:
    """A trained head, and how unsure it is. Its scores are the calibrated ones.

    kind (str): Of its scores: see `answers.softness`.
    measure (str): See `unsure.of_classes`.
    over (str): See `Over`.
    """

    def __init__(self, name: str, pipe: Pipe, kind: str, measure: Measure, over: Over) -> None:
        self.name, self._pipe, self._kind, self._measure, self._over = name, pipe, kind, measure, over

    def __call__(self, docs: Sequence[Doc]) -> list[tuple[float, str]]:
        """RETURNS (List[Tuple[float, str]]): Of each doc how unsure the head is, and its guess.

        RAISES (ValueError): When there is nothing to choose from, or scores are not finite.
        """
        shared, answers = scores(self._pipe, self._kind, docs)
        names: list[str] = shared["tags"] if "tags" in shared else shared["labels"]
        exclusive = bool(shared.get("exclusive", True))
        if exclusive and len(names) < 2:
            raise ValueError(Errors.T934.format(name=self.name, labels=names))
        return [
            self._judge(doc, self._probabilities(answer, shared), names, exclusive)
            for doc, answer in zip(docs, answers, strict=True)
        ]

    def _probabilities(self, answer: Config, shared: Config) -> Floats:
        """Shape (1, n_labels), or (n_tokens, n_tags)."""
        logits = numpy.atleast_2d(answer["logits"]).astype("d")
        if self._kind == "labels":
            return soften(numpy, logits, 1.0, shared["exclusive"])
        between = Transitions(shared["start"], shared["matrix"], shared["end"]) if "matrix" in shared else None
        return tag_marginals(logits, numpy.array([len(logits)]), between, 1.0) if len(logits) else logits

    def _judge(self, doc: Doc, found: Floats, names: Sequence[str], exclusive: bool) -> tuple[float, str]:
        if not len(found):
            return 0.0, ""
        if not numpy.isfinite(found).all():
            raise ValueError(Errors.T935.format(name=self.name, text=doc.text[:60]))
        if exclusive:
            unsure, order = of_classes(found, self._measure), found
        else:
            own = getattr(self._pipe, "thresholds", {})
            common = cast(TextCategorizer, self._pipe).cfg["threshold"]
            thresholds = numpy.array([own.get(name, common) for name in names])
            unsure, order = of_decisions(found, thresholds, self._measure), nearness(found, thresholds)
        most = int(unsure.argmax())
        best = numpy.argsort(-order[most], kind="stable")[:2]
        guess = ", ".join(f"{names[i]} {found[most, i]:.2f}" for i in best)
        where = f"{doc[most].text}: " if self._kind == "tags" else ""
        return float(unsure[most] if self._over == "most" else unsure.mean()), where + guess


def judges_of(nlp: Language, names: Sequence[str] | None, measure: Measure, over: Over) -> list[Judge]:
    """The heads of a pipeline that tell how unsure they are.

    names (Optional[Sequence[str]]): Which; None for all that are trained.
    RAISES (ValueError): When one is named that is not there, not trained, or has no probabilities.
    """
    can = dict[str, Judge]()
    for name, pipe in pipes_of(nlp):
        kind = softness(pipe, list(nlp.get_pipe_meta(name).assigns))
        if kind in ("labels", "tags") and _is_trained(pipe):
            can[name] = Judge(name, pipe, kind, measure, over)
    for name in names or ():
        if name not in can:
            near = get_close_matches(name, can, n=4, cutoff=0.5) or list(can)
            raise ValueError(Errors.T933.format(name=name, can=near))
    return list(can.values()) if names is None else [can[name] for name in names]


def _is_trained(pipe: Pipe) -> bool:
    """A head of ours begins with weights of 0, from which all labels are equally likely."""
    if not pipe.model.has_ref("output"):
        return True
    output = pipe.model.get_ref("output")
    return bool(output.has_param("W")) and bool(output.get_param("W").any())


def scan(nlp: Language, texts: Iterable[str], judges: Sequence[Judge], total: int | None = None) -> Scan:
    """Run a pipeline over texts, a batch after the other, as far as its rows and these heads need it.

    total (Optional[int]): How many texts there are, for the progress bar.
    RAISES (ValueError): When a head cannot tell how unsure it is.
    """
    by_name = {judge.name: judge for judge in judges}
    wanted = [name in by_name or isinstance(pipe, Backbone) for name, pipe in nlp.pipeline]
    # Without a backbone rows are looked for in doc.tensor, when all have run.
    has_backbone = any(isinstance(pipe, Backbone) for _, pipe in nlp.pipeline)
    pipes = pipes_of(nlp)[: len(wanted) - wanted[::-1].index(True)] if has_backbone else pipes_of(nlp)
    rows, unsure, guesses = list[Floats](), list[float](), list[dict[str, str]]()
    bar = progress(texts, what="Texts", total=total)
    for batch in util.minibatch(bar, size=nlp.batch_size):
        docs = [nlp.make_doc(text) for text in batch]
        own: Floats | None = None
        judged: dict[str, list[tuple[float, str]]] = {}
        for name, pipe in pipes:
            if name in by_name:
                judged[name] = by_name[name](docs)
            if isinstance(pipe, Backbone):
                encoded = pipe.predict(docs)
                pipe.set_annotations(docs, encoded)
                own = pipe.model.ops.to_numpy(encoded.documents) if own is None else own
            elif hasattr(pipe, "pipe"):
                docs = list(pipe.pipe(docs, batch_size=len(docs)))
            else:
                docs = [pipe(doc) for doc in docs]
        rows.append(_unit(numpy.stack([_vector(doc) for doc in docs]) if own is None else own))
        for i in range(len(docs)):
            guesses.append({name: found[i][1] for name, found in judged.items()})
            unsure.append(sum(found[i][0] for found in judged.values()) / max(len(judged), 1))
    found = numpy.concatenate(rows) if rows and rows[0].shape[1] else numpy.zeros((0, 0), "f")
    return Scan(found if found.any() else None, numpy.array(unsure) if judges else None, guesses)


def _vector(doc: Doc) -> Floats:
    return cast(Floats, doc.vector.get() if hasattr(doc.vector, "get") else doc.vector)


def _unit(rows: Floats) -> Floats:
    """Of length 1, so that distances are those between angles; rows of 0 stay."""
    return (rows / numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype("f")
