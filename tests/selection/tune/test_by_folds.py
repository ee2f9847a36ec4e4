"""What is not trained because it would change nothing, and the config of a trial that has ended."""

from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from spacy.util import load_config

from spacy_transfer.selection.tune.by_folds import _digest, config_of, error_of_mean, quickly
from spacy_transfer.selection.tune.folds import Folds
from spacy_transfer.selection.tune.space import Blocks, Choices, Range, Space, put
from spacy_transfer.selection.tune.study import Search, make_sampler

CONFIGS = Path(__file__).parents[3] / "configs"
SHARES = {"contrastive": "training.before_to_disk.then.share", "fewshot": "training.before_to_disk.share"}
VECTORS = "spacy-transfer.VectorsBackbone.v1"


@pytest.mark.parametrize("name", SHARES)
def test_frozen_encoders_are_not_trained(name):
    """Nor does it make another trial what the training would have been."""
    config = load_config(CONFIGS / f"textcat_{name}.cfg")
    *sections, last = SHARES[name].split(".")
    callback = reduce(getitem, sections, config)
    own, steps = config.copy(), config["training"]["max_steps"]
    assert callback[last] != 0.0 and quickly(config) == own == config
    callback[last] = 0.0
    quick = quickly(config)["training"]
    assert (
        quick["max_steps"] == 1 and quick["optimizer"]["learn_rate"] == 0.0 and config["training"]["max_steps"] == steps
    )
    other = config.copy()
    put(other, "training.optimizer.learn_rate.learn_rate", 0.7)
    put(other, "components.transfer_backbone.model.tuning.freeze", "embeddings")
    assert _digest(other) == _digest(config) != _digest(own)
    put(other, "initialize.components.transfer_textcat.strength", 3.0)
    assert _digest(other) != _digest(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("initialize.components.transfer_textcat.fit", None),
        ("components.transfer_backbone.model.@architectures", VECTORS),
        ("training.before_to_disk.components", ["transfer_textcat"]),
        ("training.before_to_disk", None),
    ],
)
def test_what_training_may_change_is_trained(key, value):
    config = load_config(CONFIGS / "textcat_fewshot.cfg")
    config["training"]["before_to_disk"]["share"] = 0.0
    put(config, key, value)
    assert quickly(config)["training"]["max_steps"] == config["training"]["max_steps"] == 200


def test_the_config_of_a_trial_that_has_ended(tmp_path):
    config = {"training": {"x": 0.3, "size": 3, "kind": {"@misc": "own"}, "score_weights": {"s": 1.0}}}
    inner = {"@misc": "other", "r": Range(1, 9)}
    space = Space({"training.x": Range(1e-3, 1.0, log=True), "training.size": Choices(("null", "[2, 1]"))})
    space = Space({**space.settings, "training.kind": Blocks({"own": {}, "other": inner})})
    search, drawn = Search(tmp_path / "a", space, config, config, Folds(3)), []
    for _ in range(6):
        claim = search.claim(6, lambda number: make_sampler("random", number, 1))
        drawn.append(claim.config)
        search.finish(claim, "COMPLETE", score=0.5 + 1e-6 * claim.trial.number)
    assert [config_of(search, trial) for trial in search.trials()] == drawn
    assert search.best().number == 0, "equal in what is shown"


def test_the_error_of_a_mean():
    assert error_of_mean([1.0, 2.0, 3.0]) == pytest.approx((1.0 / 3) ** 0.5) and error_of_mean([1.0]) is None
