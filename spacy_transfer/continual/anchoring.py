"""`spacy-transfer.Anchor.v1`: a callback that pulls weights to those of an old pipeline, each by its importance."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Literal

from spacy.language import Language
from spacy.training import Example
from spacy.util import logger

from ..corpora.output_folder import check_stays
from ..errors import Errors
from ..pipeline.backbone.tasks import without_surgery
from ..pipeline.calibration import corpus_of
from ..pipeline.labels.carry import load
from ..pipeline.pipeline_copy import copy_of
from ..random_state import same_random_state
from ..tuning.anchors import strengths
from ..types import pipe_of, pipes_of
from .anchored_step import AnchoredStep
from .importance import estimate_fisher
from .old_data import Data, is_raw, own_answers, read_data
from .old_weights import Matches, OldWeights, old_components

Importance = Literal["fisher", "equal"]
Targets = Literal["predicted", "gold"]
Callback = Callable[[Language, dict[str, int]], object]
KEY = "training.before_update"


def create_anchor_v1(
    *,
    strength: float | dict[str, float] = 1.0,
    importance: Importance = "fisher",
    source: str | None = None,
    components: list[str] | None = None,
    data: Data | None = None,
    targets: Targets = "predicted",
    max_examples: int = 500,
    normalize: bool = False,
    then: Callback | None = None,
) -> "Anchor":
    """For `[training.before_update]`: elastic weight consolidation (EWC; Kirkpatrick et al. 2017, arXiv 1612.00796).
    The loss of every doc gets strength / 2 * sum(F * (weights - old weights) ** 2), where F, the diagonal of the Fisher
    information, says how much the old task depends on each weight. With F = 1 it is L2-SP (Li et al. 2018).

    Weights are those of Thinc's layers and of torch's modules, of `transfer_*` and of stock components. They are
    found by COMPONENT.path.parameter; rows of labels by their labels. What is new has importance 0. What is frozen, or
    gets no gradient of its own in a step, is left alone. F is estimated once, before the first update, on a copy. The
    pull holds for the step that the callback begins, with gradients collected as `spacy train` does it (sgd=False).

    strength (Union[float, Dict[str, float]]): Of the pull; one for all, or one for each regular expression over names:
        the first that finds a name counts, and what none finds is free.
    importance (str): "fisher" for EWC, "equal" for L2-SP.
    source (Optional[str]): The old pipeline: a folder or package; null for the pipeline as its training begins. Name it
        where labels have been added: only then is it known which rows are new.
    components (Optional[List[str]]): Which; null for all that are trained and that the old pipeline has. With source =
        null name those that have learned something.
    data (Union[Callable, Path, str, None]): What F is estimated on: a reader, a .spacy file, or raw text (a .jsonl file
        with "text", or a text a line); null for the texts of [training] train_corpus.
    targets (str): "gold" for annotated data of the old task, or "predicted": the old pipeline's own predictions.
    max_examples (int): How many of the first texts are used.
    normalize (bool): Divide F by its mean over all weights: strengths are then comparable to those of L2-SP.
    then (Optional[Callable[[Language, Dict[str, int]], object]]): Another callback, to run afterwards: spaCy has one
        place for both.
    RETURNS (Anchor): The callback.
    """
    values = [strength] if isinstance(strength, (int, float)) else list(strength.values())
    if not values or not all(0.0 <= value < float("inf") for value in values):
        raise ValueError(Errors.T681.format(key="strength", found=strength, wanted="0 or more"))
    if max_examples < 1:
        raise ValueError(Errors.T681.format(key="max_examples", found=max_examples, wanted="1 or more"))
    if importance == "fisher" and targets == "gold" and (data is None or is_raw(data)):
        raise ValueError(Errors.T688.format(found=data))
    if source is not None:
        check_stays(source, KEY)
    settings = AnchorSettings(strength, importance, source, components, data, targets, max_examples, normalize)
    return Anchor(settings, then)


@dataclass(frozen=True)
class AnchorSettings:
    """Arguments of `create_anchor_v1`, which explains them."""

    strength: float | dict[str, float]
    importance: Importance
    source: str | None
    components: list[str] | None
    data: Data | None
    targets: Targets
    max_examples: int
    normalize: bool


class Anchor:
    """The callback: it puts a component into the pipeline, for one step, that adds the pull. See `AnchoredStep`.

    settings (AnchorSettings): What is held, and how strongly.
    """

    def __init__(self, settings: AnchorSettings, then: Callback | None = None) -> None:
        self.settings, self.then = settings, then
        self.step: AnchoredStep | None = None

    def __call__(self, nlp: Language, info: dict[str, int]) -> None:
        """Called before each step."""
        if self.step is not None:
            self.step.close()
        if self.step is None or self.step.nlp is not nlp:
            self.step = self._prepare(nlp)
        last = nlp.components[-1][1]
        if self.then is not None:
            self.then(nlp, info)
        self.step.open(behind=last)

    def _prepare(self, nlp: Language) -> AnchoredStep:
        frozen = nlp.config.interpolate()["training"].get("frozen_components", [])
        names = self._names(nlp, frozen)
        old = self._remember(nlp, names)
        found = Matches()
        held = {key: pair for name in names for key, pair in old.look_up(name, pipe_of(nlp, name), found).items()}
        known = [key for key, (parameter, _) in held.items() if not parameter.is_frozen]
        if not known:
            raise ValueError(Errors.T687.format(source=self.settings.source, found=found.missing[:8], wanted=names))
        by_name = strengths(self.settings.strength, known, f"{KEY}.strength")
        logger.info("Anchor: %s", found.describe())
        return AnchoredStep(nlp, names, old, by_name, frozen)

    def _names(self, nlp: Language, frozen: list[str]) -> list[str]:
        trained = [
            name
            for name, pipe in pipes_of(nlp)
            if getattr(pipe, "is_trainable", False)
            and name not in frozen
            and getattr(pipe, "frozen", False) is not True
        ]
        wanted = trained if self.settings.components is None else self.settings.components
        for name in wanted:
            if name not in trained:
                near = get_close_matches(name, trained, n=4, cutoff=0.4) or trained
                raise ValueError(Errors.T689.format(name=name, near=near))
        return [name for name in trained if name in wanted]

    def _remember(self, nlp: Language, names: list[str]) -> OldWeights:
        source, importance = self.settings.source, self.settings.importance
        with same_random_state():
            old = nlp
            if source is not None:
                old = load(source, f"{KEY}.source")
            elif importance == "fisher":
                old = copy_of(nlp)
            names = old_components(old, names, source or "the pipeline itself")
            if importance == "equal":
                return OldWeights(old, names, None)
            without_surgery(old)  # PCGrad is off: the Fisher is of the sum of the losses.
            fisher = estimate_fisher(old, self._examples(nlp, old), names)
            weights = OldWeights(old, names, fisher)
            mean = weights.mean_importance()
            counts = ", ".join(f"{name} ({fisher.counts[name]} texts)" for name in names)
            logger.info("Anchor: importance, mean %.3g, of %s", mean, counts)
            if self.settings.normalize and mean > 0.0:
                weights.scale(1.0 / mean)
            return weights

    def _examples(self, nlp: Language, old: Language) -> list[Example]:
        key, data = f"{KEY}.data", self.settings.data
        if data is None:
            given = corpus_of(nlp, nlp.config.interpolate()["training"]["train_corpus"], key)
        else:
            given = read_data(old, data, key)
        examples = list(islice((eg for eg in given if len(eg.predicted)), self.settings.max_examples))
        if not examples:
            raise ValueError(Errors.T680.format(names=old.pipe_names))
        return examples if self.settings.targets == "gold" else own_answers(old, examples)
