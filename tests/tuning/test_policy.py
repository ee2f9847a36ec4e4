"""Policies over names: layers of real encoders, what moves at which step, slips of the pen."""

import pytest
import transformers

from spacy_transfer.tuning.policy import Policy, build_tuning_v1

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
ENCODERS = {
    "Bert": SMALL,
    "Roberta": SMALL,
    "Electra": {**SMALL, "embedding_size": 8},
    "MPNet": SMALL,
    "Deberta": {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "DebertaV2": {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm"},
    "ModernBert": {**SMALL, "pad_token_id": 0},
    "DistilBert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16, "vocab_size": 30},
    "Albert": {**SMALL, "embedding_size": 8},
}


def names_of(kind):
    config = getattr(transformers, f"{kind}Config")(**ENCODERS[kind])
    return [name for name, _ in getattr(transformers, f"{kind}Model")(config).named_parameters()]


def policy(names, **settings):
    return Policy(build_tuning_v1(**settings), names)


BERT = names_of("Bert")


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_layers_are_found(kind):
    names = names_of(kind)
    found = policy(names, freeze=1)
    n_layers = 1 if kind == "Albert" else 3  # ALBERT's layers share their weights
    assert found.n_layers == n_layers
    for name in names:
        number = next((int(part) for part in name.split(".") if part.isdigit()), None)
        if number is None and any(word in name for word in ("embed", "rel_", "relative")):
            assert found.depth[name] == 0, name
        if number is not None:
            assert found.depth[name] == number + 1, name
    at_bottom = {name for name in names if found.depth[name] <= 1}
    assert found.frozen == at_bottom
    assert found.moving(0) == set(names) - at_bottom


def test_freeze():
    everything = set(BERT)
    assert policy(BERT).moving(0) == everything
    assert policy(BERT, freeze="all").moving(10) == set()
    assert {n for n in everything if n.startswith("embeddings.")} == everything - policy(
        BERT, freeze="embeddings"
    ).moving(0)
    by_pattern = policy(BERT, freeze=[r"\.query\.", r"^pooler"])
    assert by_pattern.frozen == {n for n in BERT if ".query." in n or n.startswith("pooler")}


def moving_layers(found, step):
    return sorted({found.depth[name] for name in found.moving(step)})


def test_gradual_unfreezing_from_the_top():
    found = policy(BERT, unfreeze=10)
    assert [moving_layers(found, step) for step in (0, 9, 10, 20, 30, 1000)] == [
        [3, 4],
        [3, 4],
        [2, 3, 4],
        [1, 2, 3, 4],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    ]


def test_schedule_with_head_first_and_refreezing():
    found = policy(BERT, head_first=5, unfreeze={"0": 1, "10": 4, "20": 2})
    assert moving_layers(found, 4) == []
    assert moving_layers(found, 5) == [3, 4]
    assert moving_layers(found, 15) == [0, 1, 2, 3, 4]
    assert moving_layers(found, 25) == [2, 3, 4]
    stages = [found.stage(step) for step in range(30)]
    assert [step for step in range(1, 30) if stages[step] != stages[step - 1]] == [5, 15, 25]


def test_layer_decay():
    found = policy(BERT, layer_decay=0.5)
    by_depth = {found.depth[name]: found.scales[name] for name in BERT}
    assert by_depth == {0: 0.125, 1: 0.25, 2: 0.5, 3: 1.0, 4: 1.0}


def test_modules_below_the_boundary():
    found = policy(BERT, freeze=2)
    assert found.is_below("embeddings.dropout", 0) and found.is_below("encoder.layer.1.output.dropout", 0)
    assert not found.is_below("encoder.layer.2.output.dropout", 0) and not found.is_below("encoder", 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": "embedings"}, r"T610.*embedings"),
        ({"freeze": -1}, r"T610.*-1"),
        ({"freeze": 4}, r"T614.*freeze = 4.*3 layers"),
        ({"freeze": ["encoder.layr.0"]}, r"T617.*encoder\.layr\.0.*encoder\.layer\.0"),
        ({"freeze": ["("]}, r"T616"),
        ({"freeze": "all", "head_first": 3}, r"T612"),
        ({"head_first": -1}, r"T611.*head_first"),
        ({"layer_decay": 0.0}, r"T611.*layer_decay"),
        ({"unfreeze": 0}, r"T611.*unfreeze"),
        ({"unfreeze": {"10": 1, "5": 2}}, r"T613.*backwards"),
        ({"unfreeze": {"a": 1}}, r"T613.*steps"),
        ({"unfreeze": {"0": 5}}, r"T614.*unfreeze = 5"),
        ({"unfreeze": {"0": 1}}, r"T615.*never thaws the layers \[0, 1, 2\].*freeze = 2"),
    ],
)
def test_slips_of_the_pen(settings, message):
    with pytest.raises(ValueError, match=message):
        policy(BERT, **settings)


def test_what_is_frozen_for_good_need_not_thaw():
    assert moving_layers(policy(BERT, freeze=2, unfreeze={"0": 0, "5": 1}), 5) == [3, 4]
