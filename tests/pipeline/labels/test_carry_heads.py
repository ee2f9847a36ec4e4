"""`carry_from` of token heads and regressors in a config; labels of a regressor that change."""

import logging
import shutil

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from thinc.api import Adam

import spacy_transfer

from ...pipelines import LISTENER, backbone_config, step
from .test_carry import config_for
from .test_edit import CASES, logits, make, params, predictions, reload, train

DECODERS = [case for case in CASES if case.startswith(("transfer_ner_", "transfer_tagger_"))]


def neighbours(nlp):
    """Scores of neighbours by the names of both tags, as bytes; nothing without a CRF."""
    pipe = nlp.get_pipe("head")
    if not pipe.model.has_ref("transitions"):
        return {}
    node, tags = pipe.model.get_ref("transitions"), pipe.tags
    found = {
        (key, tag): node.get_param(key)[i].tobytes() for key in ("start", "end") for i, tag in enumerate(pipe.tags)
    }
    matrix = node.get_param("matrix")
    return found | {(a, b): matrix[i, j].tobytes() for i, a in enumerate(tags) for j, b in enumerate(tags)}


@pytest.mark.parametrize("case", DECODERS)
def test_token_heads_in_a_config(case, tiny_bert, tmp_path, caplog):
    """Rows of the labels that stay, bit for bit, by their new names; a CRF's scores between them; nothing of the source
    is needed afterwards."""
    factory, model = CASES[case]
    source, _ = make(case, tiny_bert)
    source.to_disk(tmp_path / "source")
    init = {"carry_from": str(tmp_path / "source"), "label_map": {"A": "S"}}
    with caplog.at_level(logging.INFO, logger="spacy"):
        nlp = init_nlp(config_for(tmp_path, tiny_bert, head=factory, model=model, labels=("C", "N", "S"), **init))
    assert "carried 2" in caplog.text and "renamed (A -> S)" in caplog.text and "dropped 1 (B)" in caplog.text
    old, new = params(source), params(nlp)
    names = {name: name[:-1] + {"S": "A"}.get(name[-1], name[-1]) for name in new if name[-1] != "N"}
    assert len(names) == (2 if factory == "transfer_tagger" else 5)
    assert {name: new[name] for name in names} == {name: old[was] for name, was in names.items()}
    said, now = logits(source), logits(nlp)
    for name, was in names.items():
        numpy.testing.assert_allclose(now[name], said[was], atol=1e-6)
    before, after = neighbours(source), neighbours(nlp)
    both = {"start": "start", "end": "end", **names}
    carried = {key: value for key, value in after.items() if set(key) <= set(both)}
    assert carried == {key: before[both[key[0]], both[key[1]]] for key in carried}
    assert len(set(carried.values())) > 2 or not case.endswith("_crf")
    shutil.rmtree(tmp_path / "source")
    assert predictions(reload(nlp, tmp_path / "out")) == predictions(nlp)


@pytest.mark.parametrize("case", DECODERS)
def test_only_new_labels_of_token_heads_learn(case, tiny_bert, tmp_path):
    source, _ = make(case, tiny_bert)
    source.to_disk(tmp_path / "source")
    init = {"carry_from": str(tmp_path / "source"), "only_new": True}
    nlp, examples = make(case, tiny_bert, labels=("A", "B", "C"), init=init, steps=0)
    assert params(nlp) == params(source) and neighbours(nlp) == neighbours(source)
    assert predictions(nlp) == predictions(source)
    train(nlp, examples, 3)
    assert params(nlp) == params(source) and neighbours(nlp) == neighbours(source)
    nlp, examples = make(case, tiny_bert, labels=("N", "B", "C"), init=init, steps=0)
    rows, between = params(nlp), neighbours(nlp)
    optimizer = spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=0.1, weight_decay=0.1)
    train(nlp, examples, 3, optimizer=optimizer)
    after = params(reload(nlp, tmp_path / "saved"))
    assert {name for name in rows if rows[name] != after[name]} == {name for name in rows if name[-1] == "N"}
    moved = {key for key, value in neighbours(nlp).items() if between[key] != value}
    assert all(any(name[-1] == "N" for name in key) for key in moved) and bool(moved) == case.endswith("_crf")


def test_settings_without_a_source(tiny_bert):
    for case, setting in (("transfer_ner_crf", "label_map"), ("transfer_tagger_softmax", "only_new")):
        with pytest.raises(ValueError, match=f"T375.*{setting}"):
            make(case, tiny_bert, init={setting: {"A": "B"} if setting == "label_map" else True}, steps=0)
    with pytest.raises(ValueError, match="T372.*nowhere"):
        make("transfer_ner_softmax", tiny_bert, init={"carry_from": "nowhere"}, steps=0)


# Regressors

DATA = {
    "a cat sings": (1.0, 40.0, 3.0),
    "the dog": (2.0, 10.0, 1.0),
    "a car drives": (4.0, 30.0, 2.0),
    "cars": (5.0, 0.0, 9.0),
}
REGRESSION = {"@architectures": "spacy-transfer.RegressionHead.v1", "tok2vec": LISTENER}


@pytest.fixture(autouse=True)
def extensions():
    yield
    if Doc.has_extension("score"):
        Doc.remove_extension("score")


def regressor(tiny_bert, names=("joy", "fear", "age"), unit=1.0, steps=8, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    init, model = config.pop("init", {}), {**REGRESSION, "hidden": [6], "bounded": "bounds" in config}
    nlp.add_pipe("transfer_regressor", "head", config={"model": model, **config})
    nlp.config["initialize"]["components"]["head"] = init
    examples = []
    for text, values in DATA.items():
        doc = nlp.make_doc(text)
        doc._.score = {name: value * unit for name, value in zip(names, values, strict=True)}
        examples.append(Example(nlp.make_doc(text), doc))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.05, L2=0.0)
    for _ in range(steps):
        step(nlp, examples, optimizer)
    return nlp, examples


def numbers(nlp):
    found = [doc._.score for doc in nlp.pipe([*DATA, "", "zebra crossing"])]
    return {name: [values[name] for values in found] for name in found[0]}


@pytest.mark.parametrize("config", [{}, {"bounds": [0.0, 50.0]}])
def test_targets_that_stay_say_the_same(tiny_bert, tmp_path, config):
    nlp, examples = regressor(tiny_bert, **config)
    before = numbers(nlp)
    spacy_transfer.add_labels(nlp, "head", "new")
    after = numbers(nlp)
    assert after.pop("new") == pytest.approx([25.0 if config else 0.0] * 6)
    assert after == before
    spacy_transfer.remove_labels(nlp, "head", "joy")
    spacy_transfer.rename_labels(nlp, "head", {"fear": "age", "age": "fear"})
    after = numbers(reload(nlp, tmp_path))
    assert after == numbers(nlp) and list(after) == ["age", "fear", "new"]
    for name, was in {"age": "fear", "fear": "age"}.items():
        numpy.testing.assert_allclose(after[name], before[was], rtol=1e-6)
    attrs = nlp.get_pipe("head").model.attrs
    assert len(attrs["mean"]) == len(attrs["scale"]) == 3
    for _ in range(3):
        step(nlp, examples, Adam(0.05))
    assert numbers(nlp)["new"] == after["new"] and numbers(nlp)["age"] != after["age"]


@pytest.mark.parametrize("config", [{}, {"bounds": [0.0, 50.0]}])
def test_merged_targets_say_their_mean(tiny_bert, config):
    nlp, _ = regressor(tiny_bert, steps=8 if not config else 2, **config)
    before = numbers(nlp)
    spacy_transfer.merge_labels(nlp, "head", ["joy", "age"], into="both")
    after = numbers(nlp)
    mean = (numpy.array(before["joy"]) + before["age"]) / 2
    # A bounded number is a curve of the output layer's: the mean of two is not quite one again.
    numpy.testing.assert_allclose(after["both"], mean, **({"atol": 0.25} if config else {"rtol": 1e-5}))
    assert numpy.ptp(mean) > 0.5 and after["fear"] == before["fear"]


@pytest.mark.parametrize("config", [{}, {"bounds": [-100.0, 100.0]}])
def test_a_regressor_that_is_carried_says_the_same(tiny_bert, tmp_path, config):
    """Though the targets of the new texts are ten times as small, and lie elsewhere."""
    source, _ = regressor(tiny_bert, **config)
    source.to_disk(tmp_path)
    init = {"carry_from": str(tmp_path), "label_map": {"age": "years"}, "only_new": True}
    nlp, examples = regressor(tiny_bert, ("years", "other", "fear"), 0.1, steps=0, init=init, **config)
    said, now = numbers(source), numbers(nlp)
    assert now["years"] == said["age"] and now["fear"] == said["fear"]
    assert now["other"] == pytest.approx([2.0] * 6, abs=1e-5)
    for _ in range(3):
        step(nlp, examples, Adam(0.05))
    after = numbers(nlp)
    assert after["years"] == said["age"] and after["fear"] == said["fear"] and after["other"] != now["other"]


def test_other_bounds_are_another_head(tiny_bert, tmp_path):
    source, _ = regressor(tiny_bert, steps=1, bounds=[0.0, 50.0])
    source.to_disk(tmp_path)
    with pytest.raises(ValueError, match=r"T425.*\[True, \[0.0, 50.0\]\].*\[True, \[0.0, 60.0\]\]"):
        regressor(tiny_bert, steps=0, bounds=[0.0, 60.0], init={"carry_from": str(tmp_path)})
