"""Heads that are carried into another pipeline: in code, in `[initialize]`, and in a callback.

Guards also: frozen_rows.py.
"""

import logging

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from thinc.api import Adam, Config

import spacy_transfer
from spacy_transfer.pipeline.labels.component_rows import label_rows

from ...pipelines import LISTENER, TAGGER, backbone_config
from ...training import ADAMW, CONFIG
from .test_edit import CASES, HEAD, TEXTS, gold, logits, make, of, params, predictions, reload, train

OPTIMIZERS = {
    "Adam.v1": lambda: Adam(0.1, L2=0.1),
    "AdamW.v1": lambda: spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=0.1, weight_decay=0.1),
}


@pytest.fixture(scope="module")
def trained(tiny_bert, tmp_path_factory):
    """Folders of trained pipelines, by case."""
    folder, made = tmp_path_factory.mktemp("trained"), {}

    def get(case):
        if case not in made:
            nlp, _ = make(case, tiny_bert)
            nlp.to_disk(folder / case)
            made[case] = str(folder / case)
        return made[case]

    return get


@pytest.mark.parametrize("case", [case for case in CASES if case != "textcat_bow"])
def test_rows_and_layers_are_carried(case, tiny_bert, trained, tmp_path):
    source = spacy.load(trained(case))
    nlp, _ = make(case, tiny_bert, labels=("C", "N", "S"), steps=0)
    report = spacy_transfer.carry_head(nlp, "head", trained(case), label_map={"A": "S"})
    assert (dict(report.plan.carried), report.plan.new, report.plan.dropped) == ({"C": "C", "S": "A"}, ("N",), ("B",))
    old, new = params(source), params(nlp)
    for name, row in new.items():
        prefix, dash, label = name.rpartition("-")
        if label not in ("N", ""):
            assert row == old[f"{prefix}{dash}{'A' if label == 'S' else label}"], name
    assert not report.left
    if case not in ("ner_upper", "ner_lower"):
        said, now = logits(source), logits(nlp)
        for name in of("S", now):
            numpy.testing.assert_allclose(now[name], said[name[:-1] + "A"], atol=1e-6)
    if case in ("transfer_hidden", "ner_upper", "ner_lower", "textcat_attention"):
        assert report.layers
    assert predictions(reload(nlp, tmp_path)) == predictions(nlp)


@pytest.mark.parametrize("case", ["ner_upper", "ner_lower"])
def test_ner_with_the_same_labels_predicts_the_same(case, tiny_bert, trained):
    nlp, _ = make(case, tiny_bert, steps=0)
    assert predictions(nlp) != predictions(spacy.load(trained(case)))
    spacy_transfer.carry_head(nlp, "head", trained(case))
    assert predictions(nlp) == predictions(spacy.load(trained(case)))


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("transfer_ner_")])
def test_another_decoder_is_an_error(case, tiny_bert, trained):
    other = {"transfer_ner_crf": "transfer_ner_softmax", "transfer_ner_softmax": "transfer_ner_crf"}[case]
    nlp, _ = make(case, tiny_bert, steps=0)
    with pytest.raises(ValueError, match="T377"):
        spacy_transfer.carry_head(nlp, "head", trained(other))


def test_new_actions_of_ner_wait_for_training(tiny_bert, trained):
    nlp, _ = make("ner_upper", tiny_bert, labels=("A", "B", "N"), steps=0)
    spacy_transfer.carry_head(nlp, "head", trained("ner_upper"))
    names = label_rows("head", nlp.get_pipe("head")).rows
    assert {names[i] for i in nlp.get_pipe("head").model.attrs["unseen_classes"]} == of("N", names)


def test_stock_to_ours_and_softmax_to_sigmoid(tiny_bert, trained):
    nlp, _ = make("transfer_multilabel", tiny_bert, steps=0)
    spacy_transfer.carry_head(nlp, "head", trained("textcat"))
    assert params(nlp) == params(spacy.load(trained("textcat")))


def config_for(folder, tiny_bert, head="transfer_textcat", model=None, labels=("A", "B", "C", "N"), **init):
    nlp = spacy.blank("en")
    docs = [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text), labels)).reference for text in TEXTS]
    DocBin(docs=docs).to_disk(folder / "train.spacy")
    config = Config().from_str(CONFIG + ADAMW, interpolate=False)
    config["nlp"]["pipeline"] = ["transfer_backbone", "head"]
    backbone = {"factory": "transfer_backbone", **backbone_config(tiny_bert), "frozen": True}
    config["components"] = {"transfer_backbone": backbone, "head": {"factory": head, "model": model or HEAD}}
    config["paths"]["train"] = str(folder / "train.spacy")
    config["training"]["logger"] = {"@loggers": "spacy.ConsoleLogger.v1"}
    config["initialize"] = {"components": {"head": init}} if init else {}
    return config


def test_in_a_config_and_without_the_source_afterwards(tiny_bert, tmp_path, caplog):
    source, _ = make("transfer_hidden", tiny_bert)
    source.to_disk(tmp_path / "source")
    before = params(source)
    config = config_for(
        tmp_path,
        tiny_bert,
        model=CASES["transfer_hidden"][1],
        carry_from=str(tmp_path / "source"),
        label_map={"A": "N"},
    )
    with caplog.at_level(logging.INFO, logger="spacy"):
        nlp = init_nlp(config)
    assert "carried 3" in caplog.text and "renamed (A -> N)" in caplog.text and "new 1 (A)" in caplog.text
    after = params(nlp)
    assert after["N"] == before["A"] and after["B"] == before["B"] and after["C"] == before["C"]
    import shutil

    shutil.rmtree(tmp_path / "source")
    assert predictions(reload(nlp, tmp_path / "out")) == predictions(nlp)


@pytest.mark.parametrize("case", ["transfer_textcat", "transfer_hidden", "transfer_multilabel"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_only_new_labels_learn(case, optimizer, tiny_bert, trained, tmp_path):
    init = {"carry_from": trained(case), "only_new": True}
    nlp, examples = make(case, tiny_bert, labels=("A", "B", "C", "N"), init=init, steps=0)
    model = nlp.get_pipe("head").model
    before, said = params(nlp), logits(nlp)
    nodes = [node for node in model.walk() if node is not model.get_ref("output")]
    rest = [
        (node, name, node.get_param(name).copy()) for node in nodes for name in node.param_names if node.has_param(name)
    ]
    first = nlp("zz yy").cats
    new = [Example.from_dict(nlp.make_doc("zz yy"), {"cats": {label: float(label == "N") for label in "ABCN"}})]
    train(nlp, [*examples, *new], 60, optimizer=OPTIMIZERS[optimizer]())
    saved = params(reload(nlp, tmp_path / "saved"))
    after, now = params(nlp), logits(nlp)
    assert saved == after
    assert {name: after[name] for name in "ABC"} == {name: before[name] for name in "ABC"}
    assert after["N"] != before["N"]
    for node, name, kept in rest:
        assert node.get_param(name).tobytes() == kept.tobytes()
    for name in "ABC":
        numpy.testing.assert_allclose(now[name], said[name], atol=1e-6)
    assert nlp("zz yy").cats["N"] > 2 * first["N"] and nlp("zz yy").cats["N"] > 2 * nlp(TEXTS[0]).cats["N"]
    spacy_transfer.learn_only(nlp, "head", None)
    train(nlp, examples, 1)
    assert params(nlp)["A"] != before["A"]


def test_learn_only_in_code(tiny_bert, caplog):
    nlp, examples = make("transfer_textcat", tiny_bert, frozen=False, steps=1)
    with caplog.at_level(logging.WARNING, logger="spacy"):
        spacy_transfer.learn_only(nlp, "head", "B")
    assert "W364" in caplog.text and "transfer_backbone" in caplog.text
    before = params(nlp)
    train(nlp, examples, 2)
    after = params(nlp)
    assert after["A"] == before["A"] and after["C"] == before["C"] and after["B"] != before["B"]
    spacy_transfer.add_labels(nlp, "head", "N")
    assert nlp.get_pipe("head").frozen_rows is None
    with pytest.raises(ValueError, match="T360.*'X'"):
        spacy_transfer.learn_only(nlp, "head", ["X"])
    stock, _ = make("textcat", tiny_bert, steps=0)
    with pytest.raises(ValueError, match="T378.*TextCategorizer"):
        spacy_transfer.learn_only(stock, "head", ["A"])


def seen(nlp):
    seen.names.append(nlp.pipe_names)


@spacy.registry.callbacks("test_carry.seen")
def make_seen():
    seen.names = []
    return seen


@pytest.mark.parametrize("case", ["textcat", "tagger", "ner_upper"])
def test_callback_for_stock_components(case, tiny_bert, trained, tmp_path):
    factory, model = CASES[case]
    config = config_for(tmp_path, tiny_bert, factory, model, labels=("B", "C", "N"))
    config["initialize"]["after_init"] = {
        "@callbacks": "spacy-transfer.CarryHead.v1",
        "components": {"head": trained(case)},
        "label_map": {"head": {"A": "N"}},
        "then": {"@callbacks": "test_carry.seen"},
    }
    nlp = init_nlp(config)
    before, after = params(spacy.load(trained(case))), params(nlp)
    for name in of("N", after):
        assert after[name] == before[name[:-1] + "A"]
    assert seen.names == [["transfer_backbone", "head"]]
    assert predictions(reload(nlp, tmp_path / "out")) == predictions(nlp)


def test_callback_for_sourced_components(tiny_bert, trained, tmp_path):
    config = config_for(tmp_path, tiny_bert)
    config["components"] = {name: {"source": trained("transfer_textcat")} for name in ("transfer_backbone", "head")}
    config["initialize"]["after_init"] = {
        "@callbacks": "spacy-transfer.CarryHead.v1",
        "labels": {"head": ["N", "S", "C"]},
        "label_map": {"head": {"B": "S"}},
    }
    nlp = init_nlp(config)
    before, after = params(spacy.load(trained("transfer_textcat"))), params(nlp)
    assert nlp.get_pipe("head").labels == ("N", "S", "C")
    assert after["S"] == before["B"] and after["C"] == before["C"]
    examples = [Example.from_dict(nlp.make_doc("zz"), {"cats": {"N": 1.0, "S": 0.0, "C": 0.0}})]
    train(nlp, examples, 40)
    assert nlp("zz").cats["N"] > 0.5


def test_other_layers_and_other_backbones_are_said(tiny_bert, trained, tmp_path, caplog):
    import torch
    from transformers import BertModel

    encoder = BertModel.from_pretrained(tiny_bert)
    with torch.no_grad():
        encoder.encoder.layer[1].output.dense.bias += 0.25
    encoder.save_pretrained(tmp_path / "other")
    for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        path = spacy.util.ensure_path(tiny_bert) / file
        if path.exists():
            (tmp_path / "other" / file).write_bytes(path.read_bytes())
    nlp, _ = make("transfer_hidden", str(tmp_path / "other"), steps=0)
    with caplog.at_level(logging.WARNING, logger="spacy"):
        spacy_transfer.carry_head(nlp, "head", trained("transfer_hidden"))
    assert "W363" in caplog.text and "layer 1 2.5e-01" in caplog.text and "layer 0" not in caplog.text
    caplog.clear()
    model = {**CASES["transfer_hidden"][1], "hidden": [7, 5]}
    nlp, _ = make("transfer_hidden", tiny_bert, model=model, steps=0)
    with caplog.at_level(logging.WARNING, logger="spacy"):
        report = spacy_transfer.carry_head(nlp, "head", trained("transfer_hidden"))
    assert "W362" in caplog.text and len(report.left) == 2 and "(7, 32)" in report.left[0]


@pytest.mark.parametrize(
    ("init", "says"),
    [
        ({"label_map": {"A": "B"}}, "T375.*label_map"),
        ({"carry_component": "x"}, "T375.*carry_component"),
        ({"only_new": True}, "T375.*only_new"),
        ({"carry_from": "no/such"}, "T372.*carry_from = 'no/such'"),
        ({"carry_from": "SOURCE", "fit": "maxent"}, "T376"),
        ({"carry_from": "SOURCE", "carry_component": "transfer_backbone"}, "T373.*Backbone.*'head'"),
        ({"carry_from": "SOURCE", "carry_component": "hed"}, "T373.*'hed'.*not there"),
        ({"carry_from": "SOURCE", "label_map": {"X": "A"}}, "T360.*label_map names 'X'"),
        ({"carry_from": "SOURCE", "label_map": {"A": "X"}}, "T360.*label_map names 'X'"),
        ({"carry_from": "SOURCE", "label_map": {"A": "B"}}, "T364"),
        ({"carry_from": "HIDDEN"}, "T374.*16.*5"),
        ({"carry_from": "TAGGER"}, "T373.*Tagger"),
    ],
)
def test_what_cannot_be_carried(init, says, tiny_bert, trained):
    places = {"SOURCE": "transfer_textcat", "HIDDEN": "transfer_hidden", "TAGGER": "tagger"}
    source = places.get(init.get("carry_from"))
    init = {**init, "carry_from": trained(source)} if source else init
    with pytest.raises(ValueError, match=says):
        make("transfer_textcat", tiny_bert, init=init, steps=0)


def test_merging_in_a_label_map(tiny_bert, trained):
    init = {"carry_from": trained("transfer_textcat"), "label_map": {"A": "M", "B": "M"}, "merge": True}
    nlp, _ = make("transfer_textcat", tiny_bert, labels=("M", "C", "N"), init=init, steps=0)
    merged, _ = make("transfer_textcat", tiny_bert)
    spacy_transfer.merge_labels(merged, "head", ["A", "B"], "M")
    assert {name: params(nlp)[name] for name in "MC"} == params(merged)


def test_callback_names_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"T379.*'hed'.*head"):
        spacy.registry.callbacks.get("spacy-transfer.CarryHead.v1")(components={"head": "x"}, label_map={"hed": {}})


def test_another_name_there(tiny_bert, trained):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    nlp.add_pipe("tagger", name="pos", config={"model": {**TAGGER, "tok2vec": LISTENER}})
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text))) for text in TEXTS])
    report = spacy_transfer.carry_head(nlp, "pos", trained("tagger"))
    assert report.component == "head" and "from 'head'" in report.describe()
    wanted = [tags for _, tags, _ in predictions(spacy.load(trained("tagger")))]
    assert [tags for _, tags, _ in predictions(nlp)] == wanted
