"""Drawing from a space: values where they belong, the config's own values found again."""

import copy

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_transfer.selection.tune.space import Blocks, Choices, Range, Space, as_json, look_up

CONFIG = {
    "training": {"dropout": 0.1, "size": 32, "optimizer": {"kind": "adam", "rate": 0.1}},
    "head": {"tuning": None, "pooling": ["mean"]},
}
SPACE = Space(
    {
        "training.dropout": Range(0.0, 0.5),
        "training.size": Range(8, 64, True),
        "training.optimizer": Blocks({"own": {}, "sgd": {"kind": "sgd", "rate": Range(0.5, 2.0), "more": {"x": 1}}}),
        "head.tuning": Blocks({"none": {}, "lora": {"rank": Choices(("4", "8"))}}),
        "head.pooling": Choices(('["mean"]', '["max"]')),
    }
)


def study(seed=0):
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))


def test_values_come_into_a_copy():
    before, found, seen = copy.deepcopy(CONFIG), study(), set()
    for _ in range(40):
        trial = found.ask()
        config = SPACE.draw(trial, CONFIG)
        assert CONFIG == before
        assert config["training"]["dropout"] == trial.params["training.dropout"]
        assert isinstance(config["training"]["size"], int)
        kind = trial.params["training.optimizer"]
        rate = trial.params.get("training.optimizer[sgd].rate")
        expected = CONFIG["training"]["optimizer"] if kind == "own" else {"kind": "sgd", "rate": rate, "more": {"x": 1}}
        assert config["training"]["optimizer"] == expected and (rate is None) == (kind == "own")
        tuning = trial.params["head.tuning"]
        assert config["head"]["tuning"] == (
            None if tuning == "none" else {"rank": int(trial.params["head.tuning[lora].rank"])}
        )
        assert config["head"]["pooling"] in (["mean"], ["max"])
        seen.add((kind, tuning))
    assert len(seen) == 4


def test_what_is_drawn_is_found_again():
    """`params_of` is the inverse of `draw`, but for the config's own blocks."""
    found = study(1)
    for _ in range(20):
        trial = found.ask()
        config = SPACE.draw(trial, CONFIG)
        params = SPACE.params_of(config)
        for name in ("training.dropout", "training.size", "head.pooling"):
            assert params[name] == trial.params[name]
    blocks = Blocks({"a": {"x": Range(0, 5), "y": {"z": Choices(('"u"', "null"))}}, "b": {"x": 9, "y": {}}})
    assert blocks.params_of("k", {"x": 3, "y": {"z": None}}) == {"k": "a", "k[a].x": 3, "k[a].y.z": "null"}
    assert blocks.params_of("k", {"x": 9, "y": {}}) == {"k": "b"}
    assert blocks.params_of("k", {"x": 8, "y": {}}) is None
    assert blocks.params_of("k", {"x": 3}) is None


@given(st.floats(-10, 10), st.floats(0.01, 5), st.floats(-20, 20))
def test_a_value_has_params_if_it_is_in_the_range(low, width, value):
    inside = low <= value <= low + width
    assert Range(low, low + width).params_of("k", value) == ({"k": value} if inside else None)


def test_what_lies_outside_has_no_params():
    assert Range(1, 5).params_of("k", True) is None
    assert Range(1, 5).params_of("k", None) is None
    assert Choices(("1", "2")).params_of("k", 3) is None
    assert Space({"training.size": Range(64, 128), "training.dropout": Range(0.0, 0.5)}).params_of(CONFIG) == {
        "training.dropout": 0.1
    }


def test_the_first_trial_is_known_to_optuna():
    found = study()
    params = SPACE.params_of(CONFIG)
    found.enqueue_trial(params)
    trial = found.ask()
    SPACE.register(trial, params)
    assert (
        trial.params
        == params
        == {
            "training.dropout": 0.1,
            "training.size": 32,
            "training.optimizer": "own",
            "head.tuning": "none",
            "head.pooling": '["mean"]',
        }
    )


def test_values_to_show():
    assert SPACE.value_of("head.pooling", '["max"]') == ["max"]
    assert SPACE.value_of("head.tuning[lora].rank", "8") == 8
    assert SPACE.value_of("training.dropout", 0.3) == 0.3
    assert SPACE.values_in(CONFIG) == {
        key: look_up(CONFIG, key) for key in SPACE.settings if key != "training.optimizer"
    }


@pytest.mark.parametrize("value", [None, 1, 0.5, "a", ["b", 1], {"b": 1, "a": 2}])
def test_json_is_the_same_for_equal_values(value):
    assert as_json(value) == as_json(copy.deepcopy(value))
