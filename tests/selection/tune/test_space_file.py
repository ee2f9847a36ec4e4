"""Reading a space: what it may say, and each slip, with the key that it is about."""

import pytest

from spacy_transfer.selection.tune.space import Blocks, Choices, Range
from spacy_transfer.selection.tune.space_file import read_space

CONFIG = {
    "training": {
        "dropout": 0.1,
        "batcher": {"size": 32},
        "optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.003, "L2": 0.0},
    },
    "components": {"head": {"pooling": ["mean"], "tuning": None}},
}


def read(folder, text, config=CONFIG):
    path = folder / "space.cfg"
    path.write_text(text)
    return read_space(path, config)


def test_ranges_lists_and_blocks(tmp_path):
    space = read(
        tmp_path,
        """
[training.optimizer.choices.sgd]
@optimizers = "SGD.v1"
[training.optimizer.choices.sgd.learn_rate]
low = 1e-3
high = 1
log = true
[training.optimizer.choices.own]

[training.batcher.size]
low = 8
high = 64
step = 8

[components.head.pooling]
choices = [["mean"], ["mean", "max"], null]
""",
    ).settings
    assert space["training.batcher.size"] == Range(8, 64, False, 8)
    assert space["components.head.pooling"] == Choices(('["mean"]', '["mean", "max"]', "null"))
    rate = Range(1e-3, 1, True)
    assert len(space) == 3
    assert space["training.optimizer"] == Blocks({"sgd": {"@optimizers": "SGD.v1", "learn_rate": rate}, "own": {}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dropout = 1", "T900"),
        ("[training]\n[training]", "T900"),
        ("[training.dropuot]\nlow = 0.0\nhigh = 0.5", r"T901.*dropuot.*\[training\].*dropout"),
        ("[trainign.dropout]\nlow = 0.0\nhigh = 0.5", "T901.*trainign.*its sections.*training"),
        ("[training.dropout.rate]\nlow = 0.0\nhigh = 0.5", "T901.*rate.*training.dropout"),
        ("[training.dropout]\nlow = 0.1", "T902.*training.dropout.*no high"),
        ("[training.dropout]\nhigh = 0.1", "T902.*no low"),
        ("[training.dropout]\nlow = 0.2\nhigh = 0.2", "T902.*empty"),
        ("[training.dropout]\nlow = 0.2\nhigh = 0.1", "T902.*empty"),
        ('[training.dropout]\nlow = "a"\nhigh = 0.1', "T902.*values"),
        ("[training.dropout]\nlow = false\nhigh = true", "T902.*values"),
        ('[training.dropout]\nlow = 0.1\nhigh = 0.2\nlog = "yes"', "T902.*values"),
        ("[training.dropout]\nlow = 0.0\nhigh = 0.2\nlog = true", "T902.*above 0"),
        ("[training.dropout]\nlow = 0.1\nhigh = 0.2\nlog = true\nstep = 0.1", "T902.*no step"),
        ("[training.dropout]\nlow = 0.1\nhigh = 0.2\nstep = 1", "T902.*step = 1"),
        ("[training.dropout]\nlow = 0.1\nhigh = 0.2\nhihg = 0.3", "T902.*hihg"),
        ("[training.dropout]\nchoices = 0.1", "T903.*no list"),
        ("[training.dropout]\nchoices = [0.1]", "T903.*nothing to choose"),
        ("[training.dropout]\nchoices = []", "T903.*nothing to choose"),
        ("[training.dropout]\nchoices = [0.1, 0.2, 0.1]", "T903.*twice"),
        ("[training.dropout]\nchoices = [0.1, 0.2]\nlow = 0.1", "T903.*beside it.*low"),
        ("[training.optimizer.choices.a]\nL2 = 0.1", "T904.*nothing to choose"),
        ("[training.optimizer.choices.a]\nL2 = 0.1\n[training.optimizer.choices.b]\nL2 = 0.1", "T904.*the same"),
        ("[training.optimizer.choices]\na = 1\n[training.optimizer.choices.b]\nL2 = 0.1", "T904.*blocks"),
        (
            "[training.optimizer]\nL2 = 1\n[training.optimizer.choices.b]\n[training.optimizer.choices.c]\nx=1",
            "T904.*L2",
        ),
        ("[training]\ndropout = 0.1", "T905.*training.dropout = 0.1"),
        ("", "T906"),
        ("[training]", "T906"),
        ("[training.optimizer]\nlow = 0.1\nhigh = 0.2", "T907.*a range.*block"),
        ("[training.batcher]\nchoices = [1, 2]", "T907.*a list"),
        (
            "[training.optimizer.choices.a.learn_rate]\nlow = 1\n[training.optimizer.choices.b]",
            "T902.*choices.a.learn_rate",
        ),
    ],
)
def test_slips(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="T900"):
        read_space(tmp_path, CONFIG)


def test_how_it_is_written_does_not_matter(tmp_path):
    one = read(tmp_path, "[training.dropout]\nlow = 0.1\nhigh = 0.2\n[training.batcher.size]\nchoices = [1, 2]\n")
    other = read(
        tmp_path,
        "# both\n[training]\n[training.batcher]\n[training.batcher.size]\nchoices = [1,2]\n"
        "[training.dropout]\nhigh = 0.2\nlow = 0.1\n",
    )
    third = read(tmp_path, "[training.dropout]\nlow = 0.1\nhigh = 0.3\n[training.batcher.size]\nchoices = [1, 2]\n")
    assert one.digest() == other.digest() != third.digest()
