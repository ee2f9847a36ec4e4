"""What is trained goes with task, size and machine."""

import pytest

from spacy_transfer.starting.choice import LONGEST, Measured, Sizes, choose, estimate, in_words
from spacy_transfer.starting.config_blocks import partial_config

FAST, SLOW = Measured(0.001, window=64), Measured(10.0, window=64)


@pytest.mark.parametrize(
    ("task", "n_train", "n_labels", "measured", "tuning"),
    [
        ("textcat", 100, 4, FAST, "lpft"),
        ("textcat", 400, 4, FAST, "fine-tuning"),
        ("textcat", 400, 40, FAST, "lpft"),
        ("multilabel", 400, 4, FAST, "frozen"),
        ("ner", 400, 4, FAST, "fine-tuning"),
        ("spancat", 400, 4, FAST, "fine-tuning"),
        ("regression", 400, 1, FAST, "fine-tuning"),
        ("textcat", 400, 4, SLOW, "frozen"),
        ("textcat", 400, 4, Measured(10.0, window=64, has_gpu=True), "fine-tuning"),
    ],
)
def test_choices(task, n_train, n_labels, measured, tuning, tiny_bert):
    found = choose(task, tiny_bert, Sizes(n_train, 30, n_labels), measured)
    assert found.recipe.tuning == tuning and found.reasons
    assert found.recipe.steps.most == 10 * found.recipe.steps.every
    assert found.seconds == estimate(found.recipe, Sizes(n_train, 30, n_labels), measured)


def test_what_takes_too_long_is_solved_on_the_frozen_encoder(tiny_bert):
    found = choose("textcat", tiny_bert, Sizes(400, 30, 4), SLOW)
    assert "frozen" in found.reasons[0] and "--gpu-id" in found.reasons[0]
    config = partial_config(found.recipe)
    assert config["components"]["transfer_backbone"]["frozen"] is True
    assert config["initialize"]["components"]["transfer_textcat"]["fit"] == "maxent"
    given = choose("textcat", tiny_bert, Sizes(400, 30, 4), SLOW, tuning="fine-tuning")
    assert given.recipe.tuning == "fine-tuning" and given.seconds > LONGEST


def test_times():
    assert [in_words(s) for s in (1, 44, 100, 3000, 7200)] == [
        "10 seconds",
        "40 seconds",
        "2 minutes",
        "50 minutes",
        "2.0 hours",
    ]
