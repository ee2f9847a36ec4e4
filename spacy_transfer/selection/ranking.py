"""The ranking of backbones for the heads of a config: scores and costs of all candidates, and the one to take."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_model_from_config, resolve_dot_names
from thinc.api import Config

from ..errors import Errors, Warnings
from ..progress import progress
from ..types import Config as Block
from ..types import Floats
from .candidates import Candidate, Unread, document_kind
from .costs import Cost, measure, with_training_cost
from .estimators.estimate import Estimator
from .feature_files import FeatureFiles, build
from .head_tasks import Head, Pooling, Task, groups_of, make_task
from .kept_rows import KeptRows
from .resampling import Scored, combine, draws, equal_to_best, half_width, score, within_one_error
from .stratified import stratified
from .winner import with_candidate

READABLE = (ValueError, OSError, ImportError)
"""Errors of sources that cannot be read. The other candidates go on."""


@dataclass(frozen=True)
class Settings:
    """How candidates are compared.

    max_texts (int): About how many texts are read; of more, a sample stratified by label.
    max_words (int): About how many words these texts may have together.
    max_tokens (int): About how many tokens or spans are scored of heads that read these.
    min_speed (float): Words a second that the choice must reach.
    max_mb (float): Megabytes that it may have.
    folder (Optional[Path]): Where features are kept for a later call; None for nowhere.
    training_cost (bool): Measure training steps of those on the frontier.
    kept (Optional[KeptRows]): Keeps the rows of the choice for the training that follows.
    """

    estimator: Estimator
    max_texts: int = 2000
    max_words: int = 100_000
    max_tokens: int = 10_000
    seed: int = 0
    min_speed: float = 0.0
    max_mb: float = numpy.inf
    folder: Path | None = None
    training_cost: bool = True
    kept: KeptRows | None = None


@dataclass
class Line:
    """A candidate in one form: a depth, and a pooling for each head.

    depth (Optional[int]): None where the depth cannot be chosen.
    is_whole (bool): Nothing is cut off.
    scores (Dict[str, Scored]): By head.
    combined (float): What counts, higher is better: the score of a single head, the mean rank of several, times -1.
    half_width (float): Half of the interval of `combined`.
    fits (bool): Whether it meets the constraints.
    is_equal (bool): Whether it cannot be told apart from the best.
    is_close (bool): Whether it is within one standard error of the best.
    on_frontier (bool): Whether nothing is both better and faster.
    """

    candidate: Candidate
    depth: int | None
    is_whole: bool
    poolings: dict[str, Pooling]
    scores: dict[str, Scored]
    cost: Cost
    combined: float = 0.0
    half_width: float = 0.0
    fits: bool = True
    is_equal: bool = False
    is_close: bool = False
    on_frontier: bool = False

    @property
    def block(self) -> Block:
        """RETURNS (Dict[str, Any]): The block `model`."""
        return self.candidate.at(None if self.is_whole else self.depth)


@dataclass
class Ranking:
    """The result.

    lines (List[Line]): The best first.
    best (Line): Of those that meet the constraints.
    chosen (Line): The fastest of those within one standard error of the best.
    n_kept (int): For how many texts the rows of the choice were kept.
    """

    heads: list[Head]
    lines: list[Line]
    unread: list[Unread]
    best: Line
    chosen: Line
    n_texts: int
    n_words: int
    n_sampled: int
    notes: list[str]
    n_kept: int


def rank(
    nlp: Language,
    backbone: str,
    heads: Sequence[Head],
    candidates: Sequence[Candidate],
    unread: Sequence[Unread],
    config: Config,
    settings: Settings,
) -> Ranking:
    """Score candidates on the training corpus.

    nlp (Language): The pipeline with a stand-in for its backbone; it knows the labels.
    backbone (str): Name of the backbone.
    candidates (Sequence[Candidate]): With the config's own.
    unread (Sequence[Unread]): Those that are known to be no candidates.
    config (Config): The config, interpolated.
    RAISES (ValueError): When nothing can be compared, read, or chosen.
    """
    examples = read_corpus(nlp, settings.max_texts)
    n_words = sum(len(example.predicted) for example in examples)
    most = min(settings.max_texts, max(1, settings.max_words * len(examples) // max(1, n_words)))
    order = stratified(groups_of(heads, examples), most, settings.seed)
    sample = [examples[i] for i in order]
    tasks = [make_task(head, sample, settings.max_tokens) for head in heads]
    docs = [example.predicted for example in sample]
    everything = [example.predicted for example in examples]
    if len(candidates) + len(unread) == 1 and not _has_forms(candidates, heads):
        raise ValueError(Errors.T885.format(what="only the config's own backbone was found, in one form"))
    run = _Run(backbone, tasks, docs, everything, config, settings)
    lines, failed = list[Line](), list(unread)
    with progress(what="Reading", total=len(docs) * len(candidates)) as bar:
        for i, candidate in enumerate(candidates):
            bar.set_postfix_str(candidate.name)
            try:
                lines += run.lines(candidate, bar.update)
            except READABLE as error:
                failed.append(Unread(candidate.name, str(error)))
            bar.update((i + 1) * len(docs) - bar.n)
    if not lines:
        raise ValueError(Errors.T892.format(found="; ".join(f"{one.name}: {one.reason}" for one in failed)))
    _compare(lines, tasks, len(docs), settings)
    best, chosen = _choose(lines)
    notes = run.add_training_costs(lines) if settings.training_cost else []
    n_kept = run.keep(chosen)
    return Ranking(list(heads), lines, failed, best, chosen, len(examples), run.n_words, len(docs), notes, n_kept)


def read_corpus(nlp: Language, most: int) -> list[Example]:
    """RETURNS (List[Example]): The training corpus; of an endless one, the beginning."""
    config = nlp.config.interpolate()
    name = config["training"]["train_corpus"]
    (corpus,) = resolve_dot_names(config, [name])
    found: Iterable[Example] = corpus(nlp)
    return list(itertools.islice(found, most) if config["training"]["max_epochs"] == -1 else found)


def _has_forms(candidates: Sequence[Candidate], heads: Sequence[Head]) -> bool:
    """Whether there is anything to compare: several depths or poolings."""
    return any(one.sweeps for one in candidates) or any(len(head.poolings) > 1 for head in heads)


@dataclass
class _Run:
    """What all candidates are compared on."""

    backbone: str
    tasks: list[Task]
    docs: list[Doc]
    everything: list[Doc]
    config: Config
    settings: Settings

    def __post_init__(self) -> None:
        self.n_words = sum(len(doc) for doc in self.everything)
        self.files = FeatureFiles(self.settings.folder, self.docs, self.tasks, self.settings.kept)
        initialize = self.config.get("initialize", {})
        own = initialize.get("components", {}).get(self.backbone, {}).get("pretrained") or initialize.get(
            "init_tok2vec"
        )
        self.pretrained = Path(own) if own else None

    def lines(self, candidate: Candidate, progress: Callable[[int], object]) -> Iterator[Line]:
        """Score a candidate in all its forms."""
        seed, pretrained = self.settings.seed, self.pretrained if candidate.is_own else None
        model = build(candidate.block, self.everything, seed=seed, pretrained=pretrained)
        found = self.files.features(model, candidate, pretrained, progress)
        depths = sorted({depth for depth, _, _ in found}, key=lambda depth: depth or 0)
        for depth in depths:
            is_whole = depth == depths[-1]
            cut = model if is_whole else build(candidate.at(depth), self.everything, seed=seed, pretrained=pretrained)
            cost = measure(cut, self.docs, self.n_words)
            own = {(head, pooling): rows for (at, head, pooling), rows in found.items() if at == depth}
            for poolings, scores in self._forms(own):
                yield Line(candidate, depth, is_whole, poolings, scores, cost)

    def _forms(
        self, found: dict[tuple[str, Pooling], Floats]
    ) -> Iterator[tuple[dict[str, Pooling], dict[str, Scored]]]:
        """A form for each pooling of a single head. Several heads take the best pooling each, since the poolings of one
        do not change the others."""
        scored = {key: self._score(key[0], rows) for key, rows in found.items()}
        if len(self.tasks) == 1:
            for (head, pooling), one in scored.items():
                yield {head: pooling}, {head: one}
            return
        best: dict[str, Pooling] = {}
        for head, pooling in scored:
            if head not in best or scored[head, pooling].score > scored[head, best[head]].score:
                best[head] = pooling
        yield best, {head: scored[head, pooling] for head, pooling in best.items()}

    def _score(self, head: str, rows: Floats) -> Scored:
        task = next(task for task in self.tasks if task.head.name == head)
        return score(self.settings.estimator, rows, task.targets, task.gold.docs, self.settings.seed)

    def add_training_costs(self, lines: Sequence[Line]) -> list[str]:
        """Measure the training of candidates on the frontier and of the config's own, each once.

        RETURNS (List[str]): Messages about those that cannot be trained as the config says.
        """
        wanted = {self._key(line): line for line in lines if line.on_frontier or _is_own(line)}
        costs, notes = dict[tuple[str, int | None], Cost](), list[str]()
        for key, line in progress(wanted.items(), what="Training steps", unit=" candidates", total=len(wanted)):
            config = with_candidate(self.config, self.backbone, line.block, line.candidate.is_own, line.poolings)
            try:
                costs[key] = with_training_cost(line.cost, config, self.n_words)
            except READABLE as error:
                notes.append(Warnings.W882.format(name=line.candidate.name, depth=line.depth, error=error))
        for line in lines:
            line.cost = costs.get(self._key(line), line.cost)
        return notes

    def keep(self, line: Line) -> int:
        """RETURNS (int): For how many texts there are rows of a candidate for the training that follows."""
        if self.settings.kept is None:
            return 0
        is_own, block = line.candidate.is_own, line.block
        config = with_candidate(self.config, self.backbone, block, is_own, line.poolings)
        settings: Block = load_model_from_config(config, auto_fill=True).get_pipe_config(self.backbone)
        form = None if document_kind(settings["model"]) != document_kind(line.candidate.block) else self._key(line)
        model = build(block, self.everything, seed=self.settings.seed, pretrained=self.pretrained if is_own else None)
        return self.settings.kept.keep(form, model, settings)

    @staticmethod
    def _key(line: Line) -> tuple[str, int | None]:
        return line.candidate.name, line.depth


def _is_own(line: Line) -> bool:
    """Whether this is the backbone that the config has now."""
    return line.candidate.is_own and line.is_whole


def _compare(lines: list[Line], tasks: Sequence[Task], n_docs: int, settings: Settings) -> None:
    """Sort the lines by their combined scores, and find what cannot be told apart from the best that fits."""
    heads = [task.head for task in tasks]
    weights = [head.weight for head in heads]
    scored = [[line.scores[head.name] for line in lines] for head in heads]
    values = combine([numpy.array([one.score for one in own]) for own in scored], weights)
    resampled = combine(
        [draws(own, task.gold.docs, n_docs, settings.seed) for own, task in zip(scored, tasks, strict=True)], weights
    )
    fits = numpy.array([line.cost.speed >= settings.min_speed and line.cost.mb <= settings.max_mb for line in lines])
    if not fits.any():
        fastest, smallest = max(line.cost.speed for line in lines), min(line.cost.mb for line in lines)
        facts = {"speed": settings.min_speed, "mb": settings.max_mb, "fastest": f"{fastest:,.0f}"}
        raise ValueError(Errors.T893.format(smallest=f"{smallest:.1f}", **facts))
    best = int(numpy.where(fits, values, -numpy.inf).argmax())
    equal, widths = equal_to_best(resampled, best), half_width(resampled)
    close = within_one_error(values, resampled, best)
    for i, line in enumerate(lines):
        line.combined, line.half_width = float(values[i]), float(widths[i])
        line.fits, line.is_equal, line.is_close = bool(fits[i]), bool(equal[i]), bool(close[i])
    lines.sort(key=lambda line: (-line.combined, -line.cost.speed))
    fastest = -numpy.inf
    for line in lines:
        line.on_frontier, fastest = line.cost.speed > fastest, max(fastest, line.cost.speed)


def _choose(lines: Sequence[Line]) -> tuple[Line, Line]:
    """RETURNS (Tuple[Line, Line]): The best that fits, and the fastest of those that are equal to it."""
    fitting = [line for line in lines if line.fits]
    return fitting[0], max((line for line in fitting if line.is_close), key=_by_cost)


def _by_cost(line: Line) -> tuple[float, float]:
    return line.cost.speed, line.combined
