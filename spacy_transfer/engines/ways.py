"""Ways to run a trained pipeline faster on this machine, each measured."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy
from spacy.language import Language
from spacy.util import logger

from .._compat import cpu_has_bf16
from ..backbones.transformer.layers.module_tree import find_layers
from ..backbones.transformer.transformer_shim import TransformerShim
from ..corpora.texts import read_texts
from ..errors import Errors, WrongUsage
from .exports import export_onnx, find_encoder, with_settings
from .measure import Loss, Scores, words_per_second
from .onnx_graph import parts_of, why_no_graph
from .students import cut_and_distil

LEAST = 100
"""Texts to measure on: with fewer, one text is more than a point."""
_PROBES = 64
AS_IT_IS = "as it is"


@dataclass
class Way:
    """A way to run the pipeline.

    name (str): What it is called in tables and by --ways.
    reason (str): Why it is not tried; empty where it is.
    make (Callable[[List[str]], Language]): Makes the pipeline; it gets the parts to keep in higher precision.
    parts (List[str]): Those that can be kept in higher precision, the worst first.
    """

    name: str
    reason: str
    make: Callable[[Sequence[str]], Language]
    parts: Callable[[Sequence[str]], list[str]] = field(default=lambda texts: [])


@dataclass
class Tried:
    """A way that was measured.

    kept (List[str]): Parts in higher precision.
    losses (List[Loss]): Of each score, the largest first; none for the pipeline as it is.
    speed (float): Words a second.
    """

    name: str
    nlp: Language
    kept: list[str]
    losses: list[Loss]
    speed: float = 0.0

    @property
    def loss(self) -> float:
        """RETURNS (float): The largest loss, in points."""
        return max((loss.points for loss in self.losses), default=0.0)


@dataclass
class Report:
    """All ways: measured, the pipeline as it is first; not tried, with reasons; and the one to save."""

    tried: list[Tried]
    not_tried: dict[str, str]
    best: Tried | None


@dataclass(frozen=True)
class Cut:
    """An encoder with fewer layers.

    minutes (float): How long it learns. There is none where it is 0.
    texts (Optional[Path]): Raw texts that it learns on, of any format that `read_texts` takes; None for half
        of those that are measured on, so that all ways are measured on the rest.
    layers (Optional[int]): How many layers it has, from the bottom; None for half.
    """

    minutes: float = 0.0
    texts: Path | None = None
    layers: int | None = None


@dataclass(frozen=True)
class Measuring:
    """How ways are measured.

    resamples (int): How often texts are drawn for the intervals.
    speed_texts (int): How many of the first texts are timed, and `rounds` how often.
    least (int): The fewest texts.
    """

    resamples: int = 50
    speed_texts: int = 500
    rounds: int = 3
    least: int = LEAST


def speed_up(
    nlp: Language,
    pipeline: str,
    path: Path,
    *,
    max_loss: float = 0.3,
    ways: Sequence[str] = (),
    cut: Cut = Cut(),
    measuring: Measuring = Measuring(),
) -> Report:
    """Try the ways that this machine has.

    nlp (Language): The trained pipeline.
    pipeline (str): Its name or folder, which exports remember.
    path (Path): Texts with gold annotations (.spacy) that were not trained on.
    max_loss (float): The most points of a score that may be lost.
    ways (Sequence[str]): Names of ways to try; all if empty.
    cut (Cut): An encoder with fewer layers.
    measuring (Measuring): How often, and on how many texts.
    RETURNS (Report): Nothing is saved.
    """
    name, shim = find_encoder(nlp, pipeline)
    n_layers = shim.encoder.n_layers
    if cut.layers is not None and not 0 < cut.layers < n_layers:
        raise ValueError(Errors.T474.format(found=cut.layers, pipeline=pipeline, count=n_layers))
    students = Students(nlp, name, cut.layers or n_layers // 2, 60 * cut.minutes)
    known = ways_for(nlp, name, shim, pipeline, students)
    _check_names(known, ways)
    is_half, (least, draws) = cut.minutes > 0 and cut.texts is None, (measuring.least, measuring.resamples)
    scores = Scores(nlp, path, most_loss=max_loss, least=least, resamples=draws, is_half=is_half)
    students.texts = scores.others if cut.texts is None else list(read_texts(cut.texts, "--train-texts"))
    texts = scores.texts[: measuring.speed_texts]
    tried = [Tried(AS_IT_IS, nlp, [], [])]
    for way in known:
        if not way.reason and (not ways or way.name in ways):
            logger.info("Trying %s", way.name)
            tried.append(_try(way, scores, texts, max_loss))
    speeds = words_per_second({one.name: one.nlp for one in tried}, texts, measuring.rounds)
    for one in tried:
        one.speed = speeds[one.name]
    fits = [one for one in tried[1:] if one.loss <= max_loss and one.speed > tried[0].speed]
    best = max(fits, key=lambda one: one.speed, default=None)
    return Report(tried, {way.name: way.reason for way in known if way.reason}, best)


class Students:
    """The pipeline with fewer layers, distilled when it is first asked for."""

    def __init__(self, nlp: Language, name: str, depth: int, seconds: float) -> None:
        self.nlp, self.name, self.depth, self.seconds = nlp, name, depth, seconds
        self.texts: list[str] = []

    @property
    def reason(self) -> str:
        """RETURNS (str): Why there is none; empty where there is one."""
        if self.depth < 1 or find_layers(find_encoder(self.nlp, "")[1].encoder.transformer) is None:
            return "its layers cannot be cut"
        return "" if self.seconds else "it takes training: give --train-minutes"

    @cached_property
    def student(self) -> Language:
        """RETURNS (Language): The copy."""
        return cut_and_distil(self.nlp, self.name, self.depth, self.texts, self.seconds)


def ways_for(nlp: Language, name: str, shim: TransformerShim, pipeline: str, students: Students) -> list[Way]:
    """RETURNS (List[Way]): All ways, with what keeps each from being tried on this machine."""
    no_onnx = _why_no_onnx(shim)
    no_bf16 = "" if cpu_has_bf16() else "processor has no bf16 (AVX512_BF16 or AMX)"
    if shim.settings.precision == "bf16":
        no_bf16 = "the pipeline has precision = 'bf16' as it is"
    parts = [] if no_onnx else parts_of(shim.encoder.transformer)
    cut, lower = f"{students.depth}-layers", parts[: 2 * students.depth]

    def int8(kept: Sequence[str]) -> Language:
        return export_onnx(nlp, name, pipeline, [part for part in parts if part not in kept])

    def cut_bf16(kept: Sequence[str]) -> Language:
        return with_settings(students.student, name, precision="bf16")

    def cut_int8(kept: Sequence[str]) -> Language:
        return export_onnx(students.student, name, pipeline, [part for part in lower if part not in kept])

    def worst_lower(texts: Sequence[str]) -> list[str]:
        return worst_parts(students.student, name, lower, texts[:_PROBES])

    return [
        Way("bf16", no_bf16, lambda kept: with_settings(nlp, name, precision="bf16")),
        Way("onnx-fp32", no_onnx, lambda kept: export_onnx(nlp, name, pipeline)),
        Way("onnx-int8", no_onnx, int8, lambda texts: worst_parts(nlp, name, parts, texts[:_PROBES])),
        Way(cut, students.reason, lambda kept: students.student),
        Way(f"{cut}-bf16", students.reason or no_bf16, cut_bf16),
        Way(f"{cut}-onnx-int8", students.reason or no_onnx, cut_int8, worst_lower),
    ]


def _why_no_onnx(shim: TransformerShim) -> str:
    lacks = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
    if lacks:
        return f"{' and '.join(lacks)} not installed: pip install 'spacy-transfer[onnx]'"
    if shim.settings.layers != "last":
        return f"layers = {shim.settings.layers!r} of the backbone is not exported"
    return why_no_graph(shim.encoder.transformer) or ""


def worst_parts(nlp: Language, name: str, parts: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Rank the parts of an encoder by what they do to its rows when they alone are in int8.

    RETURNS (List[str]): The parts, the worst first.
    """
    docs = [nlp.make_doc(text) for text in texts]
    wanted = _rows(nlp, name, docs)
    error = {}
    for part in parts:
        found = _rows(export_onnx(nlp, name, "", [part]), name, docs)
        error[part] = float(numpy.square(found - wanted).mean())
    return sorted(parts, key=lambda part: -error[part])


def _rows(nlp: Language, name: str, docs: list) -> numpy.ndarray:
    rows = nlp.get_pipe(name).predict(docs).rows  # type: ignore[attr-defined]
    return numpy.concatenate([numpy.asarray(of_doc) for of_doc in rows])


def _try(way: Way, scores: Scores, texts: Sequence[str], max_loss: float) -> Tried:
    """With as few parts in higher precision as it takes: none, 1, 2, 4 and so on, all but one at most."""
    nlp = way.make([])
    tried = Tried(way.name, nlp, [], scores.losses(nlp))
    if tried.loss <= max_loss:
        return tried
    worst, count, best = way.parts(texts), 1, tried
    while count < len(worst) and best.loss > max_loss:
        nlp = way.make(worst[:count])
        logger.info("%s with %d parts in float32", way.name, count)
        best = Tried(way.name, nlp, worst[:count], scores.losses(nlp))
        count *= 2
    return best if best.loss <= max_loss else tried


def _check_names(known: Sequence[Way], wanted: Sequence[str]) -> None:
    by_name = {way.name: way for way in known}
    for name in wanted:
        if name not in by_name:
            raise WrongUsage(Errors.T281.format(way=name, ways=", ".join(by_name)))
        if by_name[name].reason:
            raise ValueError(Errors.T277.format(way=name, reason=by_name[name].reason))
