"""`SolveHead.v1`: what is saved has a head at the optimum of the tuned rows, and weights between old and new."""

import copy

import numpy
import pytest
import spacy
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from thinc.api import Adam

from spacy_transfer.backbones.shims.tunable import tunable_shims
from spacy_transfer.pipeline.calibration import create_calibrate_v1
from spacy_transfer.pipeline.heads.classifier import Classifier
from spacy_transfer.pipeline.solving import create_solve_head_v1

from ..pipelines import LISTENER, backbone_config
from .heads.test_maxent_start import GOLD, TEXTS, loss_and_gradient

HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER, "normalize": True}
START = {"fit": "maxent", "strength": 0.1, "label_texts": "names"}
LORA = {"method": "lora", "target_modules": ["query"]}


def trained(tiny_bert, tmp_path, name="transfer_textcat", start=START, n_steps=3, more=(), **tuning):
    """Started at the optimum, and tuned by some steps."""
    nlp = spacy.blank("en")
    block = {"@misc": "spacy-transfer.Tuning.v1", **tuning} if tuning else None
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert, tuning=block))
    nlp.add_pipe(name, config={"model": {**HEAD, "exclusive_classes": name == "transfer_textcat"}})
    docs = [nlp.make_doc(text) for text in [*TEXTS, *(text for text, _ in more)]]
    for doc, cats in zip(docs, [*GOLD, *(cats for _, cats in more)], strict=True):
        doc.cats = cats
    DocBin(docs=docs).to_disk(tmp_path / "docs.spacy")
    config = nlp.config.copy()
    reader = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "docs.spacy")}
    config["corpora"] = {"train": reader, "dev": copy.deepcopy(reader)}
    config["initialize"]["components"][name] = start
    nlp = init_nlp(config)
    examples, optimizer = examples_of(nlp), Adam(0.01)
    for _ in range(n_steps):
        nlp.update(examples, sgd=optimizer, drop=0.0)
    nlp.get_pipe("transfer_backbone").before_saving()
    return nlp


def examples_of(nlp):
    return [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in zip(TEXTS, GOLD, strict=True)]


def encoder(nlp):
    (shim,) = tunable_shims(nlp.get_pipe("transfer_backbone").model)
    return {name: parameter.value_copy() for name, parameter in shim.own_parameters().items()}


@pytest.mark.parametrize("name", ["transfer_textcat", "transfer_textcat_multilabel"])
def test_the_copy_is_at_the_optimum(tiny_bert, tmp_path, name):
    """Its loss pulls just as hard as the prior pulls back, which it does not after training."""
    nlp = trained(tiny_bert, tmp_path, name, {**START, "label_texts": None})
    before = nlp.to_bytes()
    solved = create_solve_head_v1()(nlp)
    assert nlp.to_bytes() == before, "the pipeline in training stays as it is"
    found = {}
    for which, each in {"trained": nlp, "solved": solved}.items():
        _, d_W, _, W = loss_and_gradient(each, examples_of(each), name)
        found[which] = abs(d_W + 0.1 * W).max()
    assert found["solved"] < 2e-3 < 0.05 < found["trained"]


def test_the_weights_between(tiny_bert, tmp_path):
    nlp = trained(tiny_bert, tmp_path, freeze=1)
    old, new = encoder(trained(tiny_bert, tmp_path, n_steps=0, freeze=1)), encoder(nlp)
    solved = create_solve_head_v1(share=0.25)(nlp)
    for name, found in encoder(solved).items():
        numpy.testing.assert_allclose(found, 0.75 * old[name] + 0.25 * new[name], atol=1e-6)
    frozen = [name for name in old if "embeddings" in name or "layer.0." in name]
    assert frozen and all((encoder(solved)[name] == old[name]).all() for name in frozen), "bit for bit"
    assert any((old[name] != new[name]).any() for name in old)


def test_at_share_0_it_is_the_pipeline_before_training(tiny_bert, tmp_path):
    """Label texts and all: the same optimum of the same rows."""
    nlp = trained(tiny_bert, tmp_path)
    start = trained(tiny_bert, tmp_path, n_steps=0)
    solved = create_solve_head_v1(share=0.0, components=["transfer_textcat"])(nlp)
    for text in TEXTS:
        wanted = start(text).cats
        assert solved(text).cats == pytest.approx(wanted, abs=1e-4)
        assert nlp(text).cats != pytest.approx(wanted, abs=1e-3)


def test_the_strength_that_was_found_at_first_stays(tiny_bert, tmp_path):
    """Cross-validation on the tuned rows would find another one."""
    nlp = trained(tiny_bert, tmp_path, start={"fit": "maxent", "label_texts": "names"})
    found = nlp.get_pipe("transfer_textcat").cfg["strength"]
    solved = create_solve_head_v1()(nlp)
    nlp.config["initialize"]["components"]["transfer_textcat"]["strength"] = found
    assert solved.get_pipe("transfer_textcat").to_bytes() == (
        create_solve_head_v1()(nlp).get_pipe("transfer_textcat").to_bytes()
    )
    nlp.get_pipe("transfer_textcat").cfg["strength"] = nlp.config["initialize"]["components"]["transfer_textcat"][
        "strength"
    ] = None
    another = create_solve_head_v1()(nlp).get_pipe("transfer_textcat").model.get_ref("output").get_param("W")
    assert abs(another - solved.get_pipe("transfer_textcat").model.get_ref("output").get_param("W")).max() > 1e-3


def test_heads_between(tiny_bert, tmp_path):
    """Of the trained one, and of the one that training began with: the optimum of the pretrained rows."""
    nlp = trained(tiny_bert, tmp_path)
    old, new = trained(tiny_bert, tmp_path, n_steps=0), nlp
    found = create_solve_head_v1(share=0.25, average_heads=True)(nlp)
    outputs = [each.get_pipe("transfer_textcat").model.get_ref("output") for each in (old, new, found)]
    for name in ("W", "b"):
        before, after, between = (output.get_param(name) for output in outputs)
        assert abs(after - before).max() > 2e-3
        numpy.testing.assert_allclose(between, 0.75 * before + 0.25 * after, atol=1e-4)
    before, after, between = (encoder(each) for each in (old, new, found))
    for name, values in between.items():
        numpy.testing.assert_allclose(values, 0.75 * before[name] + 0.25 * after[name], atol=1e-6)
    whole = create_solve_head_v1(share=1.0, average_heads=True)(nlp)
    for text in TEXTS:
        assert whole(text).cats == pytest.approx(nlp(text).cats, abs=1e-6)


def test_the_same_weights_are_solved_once(tiny_bert, tmp_path, monkeypatch):
    """spaCy saves the end of a training as model-best and as model-last."""
    nlp, calls = trained(tiny_bert, tmp_path), []
    solve = Classifier.solve
    monkeypatch.setattr(Classifier, "solve", lambda head, *args: calls.append(head.name) or solve(head, *args))
    callback = create_solve_head_v1(share=0.5)
    first = callback(nlp).to_bytes()
    assert callback(nlp).to_bytes() == first and calls == ["transfer_textcat"]
    nlp.update(examples_of(nlp), sgd=Adam(0.01), drop=0.0)
    assert callback(nlp).to_bytes() != first and len(calls) == 2
    fresh = create_solve_head_v1(share=0.5)(nlp).to_bytes()
    assert callback(nlp).to_bytes() == fresh, "each step on its own"


def test_pretrained_rows_are_solved_once(tiny_bert, tmp_path, monkeypatch):
    """They are the same at each save, whatever the head and the encoder have become."""
    nlp, calls = trained(tiny_bert, tmp_path), []
    solve = Classifier.solve
    monkeypatch.setattr(Classifier, "solve", lambda head, *args: calls.append(head.name) or solve(head, *args))
    callback = create_solve_head_v1(share=0.5, average_heads=True)
    first = callback(nlp)
    nlp.update(examples_of(nlp), sgd=Adam(0.01), drop=0.0)
    second = callback(nlp)
    assert calls == ["transfer_textcat"] and first.to_bytes() != second.to_bytes()
    fresh = create_solve_head_v1(share=0.5, average_heads=True)(nlp)
    assert second.to_bytes() == fresh.to_bytes() and len(calls) == 2


def test_an_adapter_is_merged_where_weights_are_averaged(tiny_bert, tmp_path):
    nlp = trained(tiny_bert, tmp_path, adapter=LORA)
    old = encoder(trained(tiny_bert, tmp_path, n_steps=0))
    merged = encoder(create_solve_head_v1(share=0.999999)(nlp))
    solved = encoder(create_solve_head_v1(share=0.5)(nlp))
    assert set(solved) == set(old) and any((merged[name] != old[name]).any() for name in old)
    for name, found in solved.items():
        numpy.testing.assert_allclose(found, (old[name] + merged[name]) / 2, atol=1e-5)


def test_then_and_another_corpus(tiny_bert, tmp_path):
    nlp, seen = trained(tiny_bert, tmp_path), []
    found = create_solve_head_v1(corpus="corpora.dev", then=lambda copied: seen.append(copied) or copied)(nlp)
    assert seen == [found] and found is not nlp
    calibrated = create_solve_head_v1(then=create_calibrate_v1())(nlp).get_pipe("transfer_textcat").model
    assert calibrated.attrs["temperature"] != 1.0 == found.get_pipe("transfer_textcat").model.attrs["temperature"]
    with pytest.raises(ValueError, match=r"T745.*training\.before_to_disk\.corpus.*corpora\.other"):
        create_solve_head_v1(corpus="corpora.other")(nlp)


@pytest.mark.parametrize("alone", [True, False])
def test_pairs_first_by_spacy_train(tiny_bert, tmp_path, alone):
    """The configuration of docs/few_labels.md."""
    nlp = trained(tiny_bert, tmp_path, n_steps=0)
    config = nlp.config.copy()
    config["nlp"]["pipeline"] += ["transfer_contrast"]
    config["components"]["transfer_contrast"] = {"factory": "transfer_contrast", "temperature": 0.1}
    weights = {"transfer_textcat": 0.0 if alone else 1.0, "transfer_contrast": 1.0}
    config["components"]["transfer_backbone"]["weighing"] = {
        "@misc": "spacy-transfer.TaskWeights.v1",
        "weights": weights,
    }
    config["training"]["batcher"] = {"@batchers": "spacy-transfer.LabelBatcher.v1", "size": 8, "per_label": 2}
    solve = {"@callbacks": "spacy-transfer.SolveHead.v1"}
    leave = {"@callbacks": "spacy-transfer.LeaveOut.v1", "components": ["transfer_contrast"], "then": solve}
    config["training"] |= {"before_to_disk": leave, "max_steps": 4, "eval_frequency": 4}
    config["training"]["optimizer"] = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 0.003}
    config.to_disk(tmp_path / "config.cfg")
    train(tmp_path / "config.cfg", tmp_path / "out")
    saved = spacy.load(tmp_path / "out" / "model-last")
    assert saved.pipe_names == ["transfer_backbone", "transfer_textcat"]
    assert any((encoder(saved)[name] != old).any() for name, old in encoder(nlp).items())
    _, d_W, _, W = loss_and_gradient(saved, examples_of(saved))
    assert abs(W).max() > 0.1 and abs(d_W + 0.1 * W).max() < 0.5


def test_what_is_wrong_with_the_texts_is_said_once(tiny_bert, tmp_path, caplog):
    """Not again by the callback, which reads the same texts."""
    with caplog.at_level("WARNING", "spacy"):
        nlp = trained(tiny_bert, tmp_path, n_steps=0, more=[(TEXTS[0], {"pet": 0.0, "car": 0.0, "boat": 1.0})])
        create_solve_head_v1()(nlp)
    assert caplog.text.count("W926") == 1
    start = {**START, "label_texts": {"pet": "a pet", "car": "a car", "boat": "a boat"}}
    start["labels"] = ["pet", "car", "boat"]
    with caplog.at_level("WARNING", "spacy"):
        create_solve_head_v1()(trained(tiny_bert, tmp_path, start=start, n_steps=0))
    assert caplog.text.count("W928") == 1


def test_nothing_to_solve(tiny_bert, tmp_path):
    nlp = trained(tiny_bert, tmp_path, start={})
    with pytest.raises(ValueError, match=r"T926.*training\.before_to_disk.*transfer_textcat"):
        create_solve_head_v1()(nlp)
    nlp.config["initialize"]["components"]["transfer_textcat"] = START
    with pytest.raises(ValueError, match=r"T925.*components.*transfer_textca'.*transfer_textcat"):
        create_solve_head_v1(components=["transfer_textca"])(nlp)
    with pytest.raises(ValueError, match=r"T215.*training\.before_to_disk\.share"):
        create_solve_head_v1(share=1.5)
