"""A search by cross-validation: trials are scored on folds of the train corpus, the best is trained on all of it."""

import copy
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, cast

from spacy.language import Language
from thinc.api import Config as ThincConfig

from ...types import Config
from .folds import Folds
from .space import digest_of
from .study import DIGEST, FIRST, META, SCORES, Claim, Search
from .trial import train_to_end

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

_SOLVES, _LEAVES_OUT = "spacy-transfer.SolveHead.v1", "spacy-transfer.LeaveOut.v1"
_WITHOUT_EFFECT = (
    "training.optimizer",
    "training.batcher",
    "training.max_steps",
    "training.max_epochs",
    "training.dropout",
    "components.transfer_backbone.weighing",
    "components.transfer_backbone.model.tuning",
)
"""Keys that change nothing where the encoder stays as it was and the head is solved."""


def scores_by_fold(
    search: Search, folds: Folds, claim: Claim, use_gpu: int, trained: Callable[[float], None]
) -> Iterator[float]:
    """Train a trial once for each fold.

    trained (Callable[[float], None]): Called with the seconds of each training. What is known is not trained: of a
        trial with the same settings, or of this one, whose process was ended.
    YIELDS (float): The mean score so far, after each fold.
    """
    config = quickly(claim.config)
    digest, scores = _digest(config), list[float]()
    known = _scores_of(search, digest)
    claim.trial.set_user_attr(DIGEST, digest)
    for fold in range(folds.count):
        if fold >= len(known):
            begin, held_out = time.monotonic(), folds.held_out(config, fold)
            known.append(train_to_end(folds.without(config, fold), held_out=held_out, use_gpu=use_gpu))
            trained(time.monotonic() - begin)
        scores.append(known[fold])
        claim.trial.set_user_attr(SCORES, scores)
        yield statistics.mean(scores)


def train_best(search: Search, use_gpu: int) -> None:
    """Train the best settings on all texts, to OUTPUT/best. Of several processes the one that ends last does it; one
    that is killed there leaves it to the next call."""
    from filelock import FileLock

    with FileLock(search.folder / "running" / "best.lock"):
        best = search.best()
        if (
            best is None
            or search.kept() == best.number
            or not all(trial.state.is_finished() for trial in search.trials())
        ):
            return
        config, place = quickly(config_of(search, best)), search.folder / "running" / "best"
        shutil.rmtree(place, ignore_errors=True)

        def save(nlp: Language) -> None:
            nlp.meta[META] = best.number
            nlp.to_disk(place)

        train_to_end(config, save=save, use_gpu=use_gpu)
        search.keep(best, place, config)


def config_of(search: Search, trial: "FrozenTrial") -> Config:
    """RETURNS (Dict[str, Any]): The config of a trial that has ended."""
    return search.config if FIRST in trial.user_attrs else search.space.draw(cast("Trial", trial), search.config)


def _scores_of(search: Search, digest: str) -> list[float]:
    """The scores by fold that are known of a config."""
    every = search.study.get_trials(deepcopy=False)
    known = [list(t.user_attrs.get(SCORES, [])) for t in every if t.user_attrs.get(DIGEST) == digest]
    return max(known, key=len, default=[])


def error_of_mean(scores: list[float]) -> float | None:
    """RETURNS (Optional[float]): The standard error of the mean over folds; None for one fold."""
    return statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None


def quickly(config: Config) -> Config:
    """RETURNS (Dict[str, Any]): A copy of a config; with one step at rate 0, where what is saved does not depend on
    training."""
    config = copy.deepcopy(config)
    if _is_frozen(config):
        config["training"] |= {"max_steps": 1, "optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.0}}
    return config


def _digest(config: Config) -> str:
    """The same for configs that come to the same pipeline, as far as that is seen without training."""
    config = copy.deepcopy(config)
    for key in _WITHOUT_EFFECT if _is_frozen(config) else ():
        *sections, last = key.split(".")
        block: Config = reduce(lambda place, section: place.get(section, {}), sections, config)
        block.pop(last, None)
    return digest_of(config)


def _is_frozen(config: Config) -> bool:
    """Whether all heads are solved on the rows of a transformer of which nothing that was tuned is kept."""
    config = ThincConfig(config).interpolate()
    share, left_out = None, set[str]()
    callback = config["training"].get("before_to_disk")
    while callback:
        if callback["@callbacks"] == _LEAVES_OUT:
            left_out |= set(callback["components"])
        if callback["@callbacks"] == _SOLVES and callback.get("components") is None:
            share = callback.get("share", 1.0)
        callback = callback.get("then")
    starts = config.get("initialize", {}).get("components", {})
    for name in config["nlp"]["pipeline"]:
        model = config["components"][name].get("model") or {}
        is_encoder = name == "transfer_backbone" and str(model.get("@architectures", "")).endswith(
            "TransformerBackbone.v1"
        )
        if not (is_encoder or name in left_out or starts.get(name, {}).get("fit") == "maxent"):
            return False
    return share == 0
