"""`collect`: all parts of a report on a pipeline, one for each head."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

from spacy.language import Language
from spacy.pipeline.spancat import SpanCategorizer
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.training import Example

from ..errors import Errors
from ..pipeline.calibration import can_be_calibrated
from ..pipeline.heads.regressor import TransferRegressor
from ..progress import progress
from .doc_parts import exclusive_labels, multilabel, numbers
from .parts import MakePart, Options, Part
from .token_parts import entities, spans, tags


def collect(nlp: Language, examples: Sequence[Example], *, resamples: int = 1000, most: int = 20) -> list[Part]:
    """Let a pipeline predict, and compare with gold annotation.

    examples (Sequence[Example]): Data with gold annotation. Their predicted docs are annotated.
    resamples (int), most (int): See `Options`.
    RETURNS (List[Part]): In the order of the pipeline. Heads without gold annotation are left out.
    """
    makers = list(_makers(nlp))
    if not makers:
        raise ValueError(Errors.T731.format(pipeline=nlp.pipe_names))
    if not examples:
        raise ValueError(Errors.T732)
    docs = progress(nlp.pipe([eg.predicted for eg in examples]), what="Predicting", total=len(examples))
    for example, doc in zip(examples, docs, strict=True):
        example.predicted = doc
    options = Options(resamples, most)
    parts = [make(examples, options) for _, make in makers]
    found = [part for part in parts if part is not None]
    if not found:
        raise ValueError(Errors.T733.format(heads=[name for name, _ in makers]))
    for part in found:
        part.can_be_calibrated = any(can_be_calibrated(nlp.get_pipe(name)) for name in part.component.split(", "))
    return found


def _makers(nlp: Language) -> Iterator[tuple[str, MakePart]]:
    """A head is known by what it assigns. Entities and tags are those of the whole pipeline."""
    seen = set()
    for name, pipe in nlp.pipeline:
        assigns = nlp.get_pipe_meta(name).assigns
        if isinstance(pipe, TransferRegressor):
            for label in pipe.labels:
                yield name, partial(numbers, name, pipe, label)
        elif isinstance(pipe, SpanCategorizer):
            yield name, partial(spans, name, pipe.key)
        elif "doc.cats" in assigns:
            if isinstance(pipe, MultiLabel_TextCategorizer):
                yield name, partial(multilabel, name, pipe)
            else:
                yield name, partial(exclusive_labels, name, cast(TextCategorizer, pipe))
        for what, make in _WHOLE.items():
            if what in assigns and what not in seen:
                seen.add(what)
                writers = [other for other in nlp.pipe_names if what in nlp.get_pipe_meta(other).assigns]
                yield name, partial(make, ", ".join(writers))


_WHOLE: dict[str, Callable[..., Part | None]] = {
    "doc.ents": entities,
    "token.tag": partial(tags, "TAG"),
    "token.pos": partial(tags, "POS"),
}
