"""What is trained goes with task, size and machine.

Guards also: config_blocks.py, recipe.py.
"""

import pytest

from spacy_transfer.starting.choice import (
    LONGEST,
    Measured,
    Sizes,
    choose,
    estimate,
    estimate_all,
    in_words,
    longest_window,
    range_in_words,
)
from spacy_transfer.starting.config_blocks import partial_config

from ..checkpoints import edit_config, write_checkpoint

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


def test_all_steps_take_longer_than_the_training(tiny_bert):
    """The test texts are read twice. Processes that start and the wheel do not go with the data."""
    low, high = estimate_all(100.0, 50, SLOW)
    none = estimate_all(0.0, 0, SLOW)
    assert 0 < none[0] < none[1]
    expected = 100.0 + 2 * 50 * SLOW.per_text
    assert low - none[0] < expected < high - none[1] and low < high
    found = choose("ner", tiny_bert, Sizes(400, 30, 4, 50), FAST)
    assert found.whole == estimate_all(found.seconds, 50, FAST)


@pytest.mark.parametrize(
    ("kind", "positions", "window"),
    [("Bert", 64, 64), ("Roberta", 66, 64), ("Roberta", 129, 127), ("Roberta", 514, 128)],
)
def test_windows_fit_the_positions(kind, positions, window, tmp_path):
    """RoBERTa has two positions that no word piece takes."""
    source = write_checkpoint(tmp_path, kind, max_position_embeddings=positions)
    assert longest_window(source) == window


@pytest.mark.parametrize(
    ("header", "code"),
    [({"attn_implementation": "owner/repo:function"}, "T125"), ({"num_hidden_layers": 10**8}, "T128")],
)
def test_a_header_is_checked_before_an_encoder_is_made_of_it(header, code, tmp_path):
    source = write_checkpoint(tmp_path)
    edit_config(tmp_path, **header)
    with pytest.raises(ValueError, match=code):
        longest_window(source)


def test_ranges_of_times():
    assert range_in_words((40, 80)) == "40 to 80 seconds"
    assert range_in_words((40, 100)) == "40 seconds to 2 minutes"
    assert range_in_words((120, 200)) == "2 to 3 minutes"
    assert range_in_words((7200, 7201)) == "about 2.0 hours"


def test_times():
    assert [in_words(s) for s in (1, 44, 100, 3000, 7200)] == [
        "10 seconds",
        "40 seconds",
        "2 minutes",
        "50 minutes",
        "2.0 hours",
    ]
