"""`spacy-transfer.Anchor.v1`: weights stay near those of what has been learned, each as strongly as it matters."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from spacy.language import Language
from spacy.training import Example
from spacy.util import logger

from ..corpora.output import check_stays
from ..errors import Errors
from ..random_state import same_random_state
from ..tuning.anchors import pull_of, strengths
from .calibrate import corpus_of
from .carry import load
from .importance import estimate_fisher, learned_from
from .names import flush
from .old_data import is_raw, own_answers, read_data
from .old_weights import Found, OldWeights, old_components
from .quiet import copy_of
from .tasks import collected_of, without_surgery

Importance = Literal["fisher", "equal"]
Targets = Literal["predicted", "gold"]
KEY = "training.before_update"


def create_anchor_v1(
    *,
    strength: float | dict[str, float] = 1.0,
    importance: Importance = "fisher",
    source: str | None = None,
    components: list[str] | None = None,
    data: Callable[[Language], Iterable[Example]] | Path | str | None = None,
    targets: Targets = "predicted",
    max_examples: int = 500,
    normalize: bool = False,
    then: Callable[[Language, dict[str, Any]], Any] | None = None,
) -> Callable[[Language, dict[str, Any]], None]:
    """For `[training.before_update]`: elastic weight consolidation (EWC; Kirkpatrick et al. 2017, arXiv 1612.00796).
    The loss of every doc gets strength / 2 * sum(F * (weights - old weights) ** 2), where F, the diagonal of the Fisher
    information, says how much the old task hangs on each weight. With F = 1 it is L2-SP (Li et al. 2018).

    Weights are those of Thinc's layers and of torch's modules, of `transfer_*` and of stock components. They are
    found by COMPONENT.path.parameter; rows of labels by their labels. What is new has importance 0. What is frozen, or
    gets no gradient of its own in a step, is left alone. F is estimated once, before the first update, on a copy.

    strength (Union[float, Dict[str, float]]): Of the pull; one for all, or one for each regular expression over names:
        the first that finds a name counts, and what none finds is free.
    importance (str): "fisher" for EWC, "equal" for L2-SP.
    source (Optional[str]): The old pipeline: a folder or package; null for the pipeline as its training begins. Name it
        where labels have been added: only then is it known which rows are new.
    components (Optional[List[str]]): Which; null for all that are trained and that the old pipeline has. With source =
        null name those that have learned something.
    data (Union[Callable, Path, str, None]): What F is estimated on: a reader, a .spacy file, or raw text (a .jsonl file
        with "text", or a text a line); null for the texts of [training] train_corpus.
    targets (str): "gold" for annotated data of the old task, or "predicted": what the old pipeline says of the texts.
    max_examples (int): Estimate on so many of the first texts.
    normalize (bool): Divide F by its mean over all weights, so that a strength means about what it does for L2-SP.
    then (Optional[Callable[[Language, Dict[str, Any]], Any]]): Another callback, to run afterwards: spaCy has one
        place for both.
    RETURNS (Callable[[Language, Dict[str, Any]], None]): The callback.
    """
    values = [strength] if isinstance(strength, (int, float)) else list(strength.values())
    if not values or not all(0.0 <= value < float("inf") for value in values):
        raise ValueError(Errors.T681.format(key="strength", found=strength, wanted="0 or more"))
    if max_examples < 1:
        raise ValueError(Errors.T681.format(key="max_examples", found=max_examples, wanted="1 or more"))
    if importance == "fisher" and targets == "gold" and (data is None or is_raw(data)):
        raise ValueError(Errors.T688.format(found=data))
    return Anchor(strength, importance, source, components, data, targets, max_examples, normalize, then)


class Anchor:
    """The callback. See `create_anchor_v1` for the arguments."""

    def __init__(
        self,
        strength: float | dict[str, float],
        importance: Importance,
        source: str | None,
        components: list[str] | None,
        data: Any,
        targets: Targets,
        max_examples: int,
        normalize: bool,
        then: Callable[[Language, dict[str, Any]], Any] | None,
    ) -> None:
        if source is not None:
            check_stays(source, KEY)
        self.strength, self.importance, self.source, self.components = strength, importance, source, components
        self.data, self.targets, self.max_examples, self.normalize = data, targets, max_examples, normalize
        self.then = then
        self._anchored: AnchoredUpdate | None = None

    def __call__(self, nlp: Language, info: dict[str, Any]) -> None:
        """Called before each step.

        nlp (Language): The pipeline in training.
        info (Dict[str, Any]): Step and epoch.
        """
        if self._anchored is None or self._anchored.nlp is not nlp:
            self._anchored = self._attach(nlp)
        self._anchored.begin_step()
        if self.then is not None:
            self.then(nlp, info)

    def _attach(self, nlp: Language) -> "AnchoredUpdate":
        names = self._names(nlp)
        old = self._remember(nlp, names)
        found = Found()
        both = {key: pair for name in names for key, pair in old.look_up(name, nlp.get_pipe(name), found).items()}
        known = [key for key, (parameter, _) in both.items() if not parameter.is_still]
        if not known:
            raise ValueError(Errors.T687.format(source=self.source, found=found.missing[:8], wanted=names))
        by_name = strengths(self.strength, known, f"{KEY}.strength")
        logger.info("Anchor: %s", found.describe())
        anchored = AnchoredUpdate(nlp, names, old, by_name)
        nlp.update = anchored  # type: ignore[method-assign]
        return anchored

    def _names(self, nlp: Language) -> list[str]:
        frozen = nlp.config.interpolate()["training"].get("frozen_components", [])
        trained = [name for name, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False) and name not in frozen]
        trained = [name for name in trained if getattr(nlp.get_pipe(name), "frozen", False) is not True]
        for name in self.components or ():
            if name not in trained:
                near = get_close_matches(name, trained, n=4, cutoff=0.4) or trained
                raise ValueError(Errors.T689.format(name=name, near=near))
        return [name for name in trained if self.components is None or name in self.components]

    def _remember(self, nlp: Language, names: list[str]) -> OldWeights:
        with same_random_state():
            old = nlp
            if self.source is not None:
                old = load(self.source, f"{KEY}.source")
            elif self.importance == "fisher":
                old = copy_of(nlp)
            names = old_components(nlp, old, names, self.source or "the pipeline itself")
            if self.importance == "equal":
                return OldWeights(old, names, None)
            without_surgery(old)  # What a weight matters to the tasks is no matter of their quarrels.
            fisher = estimate_fisher(old, self._examples(nlp, old), names)
            weights = OldWeights(old, names, fisher)
            mean = weights.mean_importance()
            counts = ", ".join(f"{name} ({fisher.counts[name]} texts)" for name in names)
            logger.info("Anchor: importance, mean %.3g, of %s", mean, counts)
            if self.normalize and mean > 0.0:
                weights.scale(1.0 / mean)
            return weights

    def _examples(self, nlp: Language, old: Language) -> list[Example]:
        key = f"{KEY}.data"
        if self.data is None:
            name = nlp.config.interpolate()["training"]["train_corpus"]
            given = corpus_of(nlp, name, key)
        else:
            given = read_data(old, self.data, key)
        examples = list(islice((eg for eg in given if len(eg.predicted)), self.max_examples))
        if not examples:
            raise ValueError(Errors.T680.format(names=old.pipe_names))
        return examples if self.targets == "gold" else own_answers(old, examples)


class AnchoredUpdate:
    """Stands in for `nlp.update` of a pipeline in training: each batch brings the pull with it.

    A callback before an update knows neither how many docs it will have, which the losses of heads are sums over, nor
    which components it will teach: what the pull alone would move must not move. Once the gradients of a batch are in,
    both are known.

    nlp (Language): The pipeline.
    components (Iterable[str]): Names of those that are held.
    old (OldWeights): Where, and how strongly each weight.
    by_name (Mapping[str, float]): Strengths by name of the parameter.
    """

    def __init__(self, nlp: Language, components: Iterable[str], old: OldWeights, by_name: Mapping[str, float]) -> None:
        self.nlp = nlp
        self.beneath = nlp.update
        self._components = tuple(components)
        self._old, self._strengths = old, dict(by_name)
        self._found: dict[str, tuple[Any, Any]] = {}
        self._waiting: dict[str, int] = {}
        self._optimizer: Any = None

    def begin_step(self) -> None:
        """Docs of a step that never came to an end no longer count."""
        self._waiting.clear()

    def __call__(self, examples: Iterable[Example], _: Any = None, *, sgd: Any = None, **kwargs: Any) -> Any:
        """As `nlp.update`. With an optimizer it steps once the gradients of all components are in.

        examples (Iterable[Example]): The batch.
        sgd (Union[Optimizer, Literal[False], None]): False to collect gradients only, as `spacy train` does.
        RETURNS (Dict[str, float]): The losses.
        """
        examples = list(examples)
        later: Any = False
        losses = self.beneath(examples, _, sgd=later, **kwargs)
        excluded = set(kwargs.get("exclude", ()))
        self._pull(examples, excluded)
        if sgd is not False:
            self._step(sgd, excluded)
        return losses

    def penalty(self) -> float:
        """RETURNS (float): strength / 2 * sum(importance * (weights - old weights) ** 2), as it is now, for one doc."""
        total = 0.0
        for name in self._components:
            for key, (parameter, old) in self._old.look_up(name, self.nlp.get_pipe(name)).items():
                if key in self._strengths:
                    value = parameter.parameter.value
                    distance = value - old.origin
                    weight = pull_of(value, old.origin, self._strengths[key], old.importance)
                    total += 0.5 * float((weight * distance).sum())
        return total

    def _pull(self, examples: list[Example], excluded: set[str]) -> None:
        for name, pipe in self.nlp.pipeline:
            if name not in self._components or name in excluded:
                continue
            flush(pipe)
            n_docs = len(learned_from(examples, name, pipe, excluded))
            collected = collected_of(pipe)
            for key, (parameter, old) in self._look_up(name, pipe).items():
                strength = self._strengths.get(key, 0.0)
                if not strength:
                    continue
                self._waiting[key] = self._waiting.get(key, 0) + n_docs
                has_own = parameter.parameter.gradient is not None if collected is None else collected.moves(parameter)
                if not has_own:
                    continue
                factor = strength * self._waiting.pop(key)
                pull = pull_of(parameter.parameter.value, old.origin, factor, old.importance)
                if collected is None:
                    parameter.parameter.add_gradient(pull)
                else:
                    collected.add(parameter, pull)

    def _look_up(self, name: str, pipe: Any) -> dict[str, Any]:
        """Labels may be added on the way, which replaces layers."""
        mark = tuple(
            (id(node), *(node.get_param(n).shape for n in node.param_names if node.has_param(n)))
            for node in pipe.model.walk()
        )
        if name not in self._found or self._found[name][0] != mark:
            self._found[name] = (mark, self._old.look_up(name, pipe))
        return self._found[name][1]

    def _step(self, sgd: Any, excluded: set[str]) -> None:
        if sgd is None:
            self._optimizer = self._optimizer or self.nlp.create_optimizer()
        for name, pipe in self.nlp.pipeline:
            if name not in excluded and getattr(pipe, "is_trainable", False):
                trainable: Any = pipe
                trainable.finish_update(sgd or self._optimizer)
        self._waiting.clear()


def update_beneath(nlp: Language) -> Any:
    """RETURNS (Callable): `nlp.update` without any anchor's pull. A backbone still has its gradients afterwards as they
    came from the heads.

    nlp (Language): The pipeline.
    """
    update: Any = nlp.update
    while isinstance(update, AnchoredUpdate):
        update = update.beneath
    return update


def release(nlp: Language) -> None:
    """Let go: `nlp.update` is spaCy's own again, without any anchor.

    nlp (Language): The pipeline.
    """
    vars(nlp).pop("update", None)
