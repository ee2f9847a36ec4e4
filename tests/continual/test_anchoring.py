"""Anchor.v1: importance against closed forms and plain torch, the pull against its formula, and what must not move.

Guards also: anchored_step.py, importance.py, old_weights.py.
"""

import copy
import gzip
import json
import random

import numpy
import pytest
import spacy
import torch
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Model, fix_random_seed

import spacy_transfer
from spacy_transfer._compat import drop_parser_dropout
from spacy_transfer.continual.anchored_step import NAME
from spacy_transfer.continual.anchoring import create_anchor_v1
from spacy_transfer.continual.importance import estimate_fisher
from spacy_transfer.continual.old_data import is_raw, own_answers, read_data
from spacy_transfer.continual.old_weights import Matches, OldWeights
from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.corpora.texts import read_texts
from spacy_transfer.pipeline.parameters import parameters_of
from spacy_transfer.tuning.optimizers import sgd_v1

from ..backbones.spacy_transformers.test_dropin import make as make_dropin
from ..pipeline.heads.test_ner import ENTITIES
from ..pipeline.heads.test_ner import TEXTS as NAMES
from ..pipeline.heads.test_ner import pipeline as ner_pipeline
from ..pipelines import LISTENER, TEXTS, backbone_config, make_examples, make_pipeline
from ..training import sourced_config

CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 8,
    "depth": 1,
    "embed_size": 20,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 8,
    "maxout_pieces": 2,
    "use_upper": True,
    "tok2vec": CNN,
}


def plain_step(rate=0.05):
    return sgd_v1(learn_rate=rate, momentum=0.0, grad_clip=0.0)


def stock_ner(steps=30, use_upper=True):
    """A pipeline whose `ner` has an encoder of its own, trained a little."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner", config={"model": {**NER, "use_upper": use_upper}})
    examples = [Example.from_dict(nlp.make_doc(t), {"entities": e}) for t, e in zip(NAMES, ENTITIES, strict=True)]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return nlp, examples


def textcat(source, frozen=False, steps=0):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": frozen})
    nlp.add_pipe(
        "transfer_textcat", config={"model": {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}}
    )
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    head = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    rng = numpy.random.default_rng(0)
    head.set_param("W", rng.normal(size=head.get_param("W").shape).astype("f"))
    head.set_param("b", rng.normal(size=head.get_param("b").shape).astype("f"))
    return nlp, examples


def twin(nlp):
    return type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())


def plain_twin(nlp):
    """PCGrad is off: the Fisher is of the sum of the losses."""
    config = nlp.config.copy()
    for component in config["components"].values():
        if component["factory"] == "transfer_backbone":
            component["surgery"] = None
    return type(nlp).from_config(config).from_bytes(nlp.to_bytes())


def values(nlp, components=None):
    return {
        p.name: numpy.array(p.parameter.value, copy=True)
        for name, pipe in nlp.pipeline
        if components is None or name in components
        for p in parameters_of(name, pipe)
    }


def train_step(nlp, examples, optimizer, parts=1, exclude=()):
    for part in range(parts):
        nlp.update(examples[part::parts], sgd=False, exclude=list(exclude))
    for name, pipe in nlp.pipeline:
        if name not in exclude and hasattr(pipe, "finish_update"):
            pipe.finish_update(optimizer)
    optimizer.step_schedules()


def is_free(nlp):
    """No anchor is in the pipeline, and no method of it is replaced."""
    return NAME not in nlp.component_names and not {"update", "evaluate"} & set(vars(nlp))


# What it says of texts itself


@pytest.mark.parametrize("settings", [{"threshold": 0.3}, {"thresholds": {"a": 0.3, "b": 0.6}}])
def test_own_answers_are_what_the_pipeline_decides(tiny_bert, settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    pipe = nlp.add_pipe("transfer_textcat_multilabel", config=settings)
    examples = [Example.from_dict(nlp.make_doc("a cat"), {"cats": {"a": 1.0, "b": 0.0}})]
    nlp.initialize(lambda: examples)
    pipe.model.get_ref("output").set_param("b", numpy.zeros(2, "f"))  # Every score is 0.5.
    (answer,) = own_answers(nlp, examples)
    assert answer.reference.cats == {"a": 1.0, "b": float(settings.get("thresholds", {}).get("b", 0.3) <= 0.5)}


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_own_answers_that_are_nan_are_refused(factory):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(factory)
    examples = [Example.from_dict(nlp.make_doc("a cat"), {"cats": {"a": 1.0, "b": 0.0}})]
    nlp.initialize(lambda: examples)
    layer = pipe.model.get_ref("output_layer")
    for node in layer.walk():
        if node.has_param("b"):
            node.set_param("b", node.get_param("b") * numpy.nan)
    with pytest.raises(ValueError, match=f"T691.*'{factory}'.*'a cat'"):
        own_answers(nlp, examples)


# Importance


def test_importance_of_a_linear_softmax_by_hand(tiny_bert):
    """The gradient of log p(y) is (y - p) x: squares and the mean over texts in three lines of NumPy."""
    nlp, examples = textcat(tiny_bert, frozen=True)
    pipe = nlp.get_pipe("transfer_textcat")
    expected_W, expected_b = [], []
    for example in examples:
        doc = nlp.get_pipe("transfer_backbone")(nlp.make_doc(example.text))
        state = numpy.asarray(pipe.model.attrs["states"](pipe.model, [doc], False)[0])[0].astype("f8")
        output = pipe.model.get_ref("output")
        logits = output.get_param("W") @ state + output.get_param("b")
        p = numpy.exp(logits - logits.max())
        p /= p.sum()
        y = numpy.eye(len(p))[p.argmax()]
        expected_W.append(numpy.outer((y - p) ** 2, state**2))
        expected_b.append((y - p) ** 2)
    answers = own_answers(nlp, examples)
    fisher = estimate_fisher(nlp, answers, ["transfer_textcat"])
    like = pipe.model.get_ref("output").get_param("W")
    names = {p.parameter.own_name: p.name for p in parameters_of("transfer_textcat", pipe)}
    numpy.testing.assert_allclose(fisher.mean(names["W"], like), numpy.mean(expected_W, axis=0), rtol=1e-4)
    numpy.testing.assert_allclose(fisher.mean(names["b"], like[:, 0]), numpy.mean(expected_b, axis=0), rtol=1e-4)


def test_importance_of_an_encoder_against_plain_torch(tiny_bert):
    """transformers' own model, one text at a time, autograd."""
    from transformers import AutoModel, AutoTokenizer

    nlp, examples = textcat(tiny_bert)
    bert, tokenizer = AutoModel.from_pretrained(tiny_bert), AutoTokenizer.from_pretrained(tiny_bert)
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    W, b = (torch.tensor(numpy.array(output.get_param(name))) for name in "Wb")
    labels = nlp.get_pipe("transfer_textcat").labels
    sums = {name: torch.zeros_like(p) for name, p in bert.named_parameters()}
    for example in examples:
        words = [token.text for token in example.predicted]
        inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        states = bert(**inputs).last_hidden_state[0]
        of_word = numpy.array([-1 if w is None else w for w in inputs.word_ids()])
        rows = torch.stack([states[torch.tensor(of_word == i)].mean(0) for i in range(len(words))])
        logits = W @ rows.mean(0) + b
        gold = labels.index(max(example.reference.cats, key=example.reference.cats.get))
        bert.zero_grad()
        torch.nn.functional.cross_entropy(logits[None], torch.tensor([gold])).backward()
        for name, p in bert.named_parameters():
            if p.grad is not None:
                sums[name] += p.grad**2
    fisher = estimate_fisher(nlp, examples, ["transfer_backbone"])
    checked = 0
    for p in parameters_of("transfer_backbone", nlp.get_pipe("transfer_backbone")):
        name = p.tuned_name.removeprefix("transformer.")
        mine = fisher.mean(p.name, p.parameter.value)
        torch.testing.assert_close(mine, sums[name] / len(examples), rtol=1e-3, atol=1e-9, msg=name)
        checked += bool(mine.any())
    assert checked > 20


def test_importance_is_without_dropout_and_of_what_is_frozen_as_yet(tiny_bert):
    """What a tuning holds still for now may move later; and the encoder's dropout must be off."""
    found = []
    for tuning, dropout in ((None, 0.0), ({"@misc": "spacy-transfer.Tuning.v1", "head_first": 100}, 0.5)):
        nlp, examples = textcat(tiny_bert)
        if tuning is not None:
            config = nlp.config.copy()
            config["components"]["transfer_backbone"]["model"]["tuning"] = tuning
            nlp = type(nlp).from_config(config).from_bytes(nlp.to_bytes())
        for shim in nlp.get_pipe("transfer_backbone").model.shims:
            for module in shim._model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = dropout
        fisher = estimate_fisher(nlp, examples, ["transfer_backbone"])
        parameters = parameters_of("transfer_backbone", nlp.get_pipe("transfer_backbone"))
        found.append({p.name: fisher.mean(p.name, p.parameter.value) for p in parameters})
    assert found[0].keys() == found[1].keys()
    assert any(array.any() for array in found[0].values())
    for name, array in found[0].items():
        torch.testing.assert_close(found[1][name], array, msg=name)


def test_importance_of_stock_ner_is_that_of_its_own_loss():
    nlp, examples = stock_ner()
    other, squares = twin(nlp), {}
    drop_parser_dropout(other.get_pipe("ner").model)
    for example in examples:
        other.update([example], drop=0.0, sgd=False)
        for p in parameters_of("ner", other.get_pipe("ner")):
            if p.parameter.owner.has_grad(p.parameter.own_name):
                gradient = p.parameter.owner.get_grad(p.parameter.own_name)
                squares[p.name] = squares.get(p.name, 0.0) + gradient.astype("f8") ** 2
                gradient[...] = 0
    fisher = estimate_fisher(nlp, examples, ["ner"])
    for p in parameters_of("ner", nlp.get_pipe("ner")):
        expected = squares.get(p.name, p.parameter.value * 0) / len(examples)
        numpy.testing.assert_allclose(fisher.mean(p.name, p.parameter.value), expected, rtol=1e-4, atol=1e-12)
    assert sum(bool(array.any()) for array in squares.values()) > 5


def two_heads(source):
    """A pipeline with two heads, and texts that teach one of them each."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(source))
    for name in ("transfer_tagger", "transfer_textcat"):
        nlp.add_pipe(name)
    nlp.initialize(lambda: make_examples(nlp))
    for name in ("transfer_tagger", "transfer_textcat"):
        output = nlp.get_pipe(name).model.get_ref("output")
        output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
    of_tagger, of_textcat = make_examples(nlp, TEXTS[:1] * 9), make_examples(nlp)
    for name, examples in (("transfer_tagger", of_tagger), ("transfer_textcat", of_textcat)):
        for example in examples:
            note_origin(example.reference, name, [name])
    return nlp, of_tagger, of_textcat


def test_importance_is_a_mean_over_the_texts_that_teach_a_component(tiny_bert):
    """Texts that teach others say nothing of a head, and must not make it look unimportant. A backbone is taught by the
    texts of all its heads."""
    nlp, of_tagger, of_textcat = two_heads(tiny_bert)
    names = ["transfer_backbone", "transfer_tagger", "transfer_textcat"]
    mixed = estimate_fisher(twin(nlp), [*of_tagger, *of_textcat], names)
    alone = {
        "transfer_tagger": estimate_fisher(twin(nlp), of_tagger, names[:2]),
        "transfer_textcat": estimate_fisher(twin(nlp), of_textcat, [names[0], names[2]]),
    }
    for name, fisher in alone.items():
        for p in parameters_of(name, nlp.get_pipe(name)):
            expected = fisher.mean(p.name, p.parameter.value)
            assert expected.any(), p.name
            numpy.testing.assert_allclose(mixed.mean(p.name, p.parameter.value), expected, rtol=1e-4, err_msg=p.name)
    for p in parameters_of("transfer_backbone", nlp.get_pipe("transfer_backbone")):
        of = [fisher.mean(p.name, p.parameter.value) for fisher in alone.values()]
        expected = (9 * of[0] + len(TEXTS) * of[1]) / (9 + len(TEXTS))
        numpy.testing.assert_allclose(
            mixed.mean(p.name, p.parameter.value), expected, rtol=1e-4, atol=1e-12, err_msg=p.name
        )


def test_texts_of_which_none_teaches_a_component(tiny_bert):
    nlp, of_tagger, _ = two_heads(tiny_bert)
    before = values(nlp)
    with pytest.raises(ValueError, match=r"T680.*\['transfer_textcat'\].*zero examples"):
        create_anchor_v1(targets="gold", data=lambda nlp: of_tagger)(nlp, {"step": 0, "epoch": 0})
    assert is_free(nlp)
    assert all((array == before[name]).all() for name, array in values(nlp).items())
    anchor = create_anchor_v1(targets="gold", data=lambda nlp: of_tagger, components=["transfer_tagger"])
    anchor(nlp, {"step": 0, "epoch": 0})


# The pull


class Quadratic(TrainablePipe):
    """Loss of a doc: sum(h / 2 * (w - c) ** 2). Of old docs ("old ...") the gradient is what makes a known Fisher."""

    h, c, old = numpy.array([1.0, 2.0, 4.0], "f"), numpy.array([1.0, -1.0, 2.0], "f"), numpy.array([2.0, 1.0, 0.0], "f")

    def __init__(self, vocab, name):
        self.vocab, self.name, self.cfg = vocab, name, {}
        self.model = Model("toy", None, params={"w": numpy.zeros(3, "f")})

    def predict(self, docs):
        return docs

    def set_annotations(self, docs, scores):
        pass

    def update(self, examples, *, drop=0.0, sgd=None, losses=None):
        for example in examples:
            w = self.model.get_param("w")
            is_old = example.text.startswith("old")
            self.model.inc_grad("w", self.old if is_old else self.h * (w - self.c))
        return losses


@spacy.Language.factory("quadratic_toy")
def make_quadratic(nlp, name):
    return Quadratic(nlp.vocab, name)


@pytest.mark.parametrize("n_docs", [1, 3])
def test_the_optimum_is_that_of_the_closed_form(n_docs, tmp_path):
    """h c / (h + strength F): the old weights are 0, F is the square of the old gradient. Any size of batch."""
    nlp = spacy.blank("en")
    nlp.add_pipe("quadratic_toy")
    (tmp_path / "old.txt").write_text("old one\n\nold two\n")
    strength = 0.3
    anchor = create_anchor_v1(strength=strength, data=str(tmp_path / "old.txt"))
    new = [Example(nlp.make_doc("new"), nlp.make_doc("new")) for _ in range(n_docs)]
    optimizer = plain_step(0.1 / n_docs)
    for i in range(200):
        anchor(nlp, {"step": i, "epoch": 0})
        train_step(nlp, new, optimizer)
    toy = nlp.get_pipe("quadratic_toy")
    expected = toy.h * toy.c / (toy.h + strength * toy.old**2)
    numpy.testing.assert_allclose(toy.model.get_param("w"), expected, rtol=1e-4)
    w = toy.model.get_param("w")
    assert numpy.isclose(anchor.step.penalty(), strength / 2 * (toy.old**2 * w**2).sum())
    assert is_free(nlp)  # The next steps are not anchored: nobody calls it before them.
    for _ in range(200):
        train_step(nlp, new, optimizer)
    numpy.testing.assert_allclose(toy.model.get_param("w"), toy.c, rtol=1e-4)


KINDS = ["torch and thinc", "surgery", "stock ner", "drop-in", "layers", "any tok2vec"]


def build(kind, tiny_bert, folder):
    if kind == "stock ner":
        return stock_ner()
    if kind == "drop-in":
        nlp, examples = make_dropin(tiny_bert)
    elif kind == "surgery":
        nlp, examples, _ = make_pipeline(tiny_bert, ("tagger", "textcat"), surgery="pcgrad")
    elif kind == "torch and thinc":
        nlp, examples = ner_pipeline(tiny_bert, frozen=False)
        nlp.initialize(lambda: examples)
    else:
        source, nlp = spacy.blank("en"), spacy.blank("en")
        source.add_pipe("tok2vec", config={"model": CNN})
        source.initialize(lambda: make_examples(source))
        source.to_disk(folder / "source")
        layers = {"@architectures": "spacy-transfer.PipelineBackbone.v1", "source": str(folder / "source")}
        model = layers if kind == "layers" else CNN
        nlp.add_pipe("transfer_backbone", config={"model": model})
        head = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
        nlp.add_pipe("transfer_tagger", config={"model": head})
        examples = make_examples(nlp)
        nlp.initialize(lambda: examples)
    for _ in range(3):
        train_step(nlp, examples, plain_step(0.01))
    return nlp, examples


@pytest.mark.parametrize("importance", ["fisher", "equal"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_step_has_the_pull_in_it(kind, importance, tiny_bert, tmp_path):
    """Away from the old weights, one step with and without anchor: they differ by rate * strength * docs * F *
    distance, in all parts of the pipeline; parts of a batch pull as the batch does."""
    nlp, examples = build(kind, tiny_bert, tmp_path)
    nlp.to_disk(tmp_path / "old")
    origin = values(nlp)
    texts = [Example(nlp.make_doc(eg.text), eg.reference) for eg in examples]
    fisher = estimate_fisher(plain_twin(nlp), own_answers(twin(nlp), texts), nlp.pipe_names)
    for _ in range(3):
        train_step(nlp, examples, plain_step())
    before = values(nlp)
    results = {}
    for how, parts in (("free", 1), ("held", 1), ("in parts", 2)):
        one = twin(nlp)
        if how != "free":
            anchor = create_anchor_v1(
                strength=0.5, importance=importance, source=str(tmp_path / "old"), data=lambda nlp: texts
            )
            anchor(one, {"step": 0, "epoch": 0})
        fix_random_seed(3)
        train_step(one, examples, plain_step(), parts)
        results[how] = values(one)
        assert is_free(one)
    moved = []
    for name, start in origin.items():
        F = numpy.asarray(fisher.mean(name, start)) if importance == "fisher" else 1.0
        F = F.numpy() if hasattr(F, "numpy") else F
        pull = 0.05 * 0.5 * len(examples) * F * (before[name] - start)
        got = results["held"][name]
        if (results["free"][name] == before[name]).all():
            assert (got == before[name]).all(), name  # No gradient of its own: left alone.
            continue
        numpy.testing.assert_allclose(got, results["free"][name] - pull, rtol=1e-4, atol=1e-6, err_msg=name)
        if kind != "stock ner":  # A batch of that follows its own predictions, in an order of its own.
            numpy.testing.assert_allclose(results["in parts"][name], got, rtol=1e-3, atol=1e-5, err_msg=name)
        moved.append(bool(numpy.abs(pull).max() > 1e-4))
    assert sum(moved) > len(moved) // 3


def test_a_step_within_the_update_is_refused(tiny_bert):
    """spaCy would step the heads before their pull is known. It is said before anything moves."""
    nlp, examples = textcat(tiny_bert)
    anchor, before = create_anchor_v1(importance="equal"), values(nlp)
    for optimizer in (plain_step(), None):
        anchor(nlp, {"step": 0, "epoch": 0})
        with pytest.raises(ValueError, match="T690.*sgd=False"):
            nlp.update(examples, sgd=optimizer)
        assert is_free(nlp)
        assert all((array == before[name]).all() for name, array in values(nlp).items())
    anchor(nlp, {"step": 1, "epoch": 0})
    train_step(nlp, examples, plain_step())
    assert any((array != before[name]).any() for name, array in values(nlp).items())


@spacy.Language.factory("looking_toy")
class Looking(Quadratic):
    """Remembers what the pipeline looks like while it is updated, and may fail."""

    def __init__(self, nlp, name):
        super().__init__(nlp.vocab, name)
        self.nlp, self.seen, self.fails = nlp, [], False

    def update(self, examples, **kwargs):
        self.seen.append((self.nlp.pipe_names, self.nlp.to_bytes()))
        if self.fails:
            raise KeyboardInterrupt
        return super().update(examples, **kwargs)


def test_the_pipeline_is_as_its_config_says(tmp_path):
    """While components train, after the step, and after one that failed: what is saved then has no anchor in it, and
    loads. A failed step leaves nothing behind for the next."""
    nlp = spacy.blank("en")
    looking = nlp.add_pipe("looking_toy")
    new = [Example(nlp.make_doc("new"), nlp.make_doc("new")) for _ in range(4)]
    anchor = create_anchor_v1(importance="equal", strength=0.5)
    for step in range(2):
        anchor(nlp, {"step": step, "epoch": 0})
        train_step(nlp, new, plain_step(), parts=2)
        assert is_free(nlp)
    looking.fails = True
    anchor(nlp, {"step": 2, "epoch": 0})
    with pytest.raises(KeyboardInterrupt):
        nlp.update(new, sgd=False)
    assert is_free(nlp)
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).pipe_names == ["looking_toy"]
    assert len(looking.seen) == 5 and all(names == ["looking_toy"] for names, _ in looking.seen)
    looking.fails, w = False, looking.model.get_param("w").copy()
    anchor(nlp, {"step": 3, "epoch": 0})
    train_step(nlp, new, plain_step())
    expected = w - 0.05 * 4 * (looking.h * (w - looking.c) + 0.5 * w)
    numpy.testing.assert_allclose(looking.model.get_param("w"), expected, rtol=1e-5)


def test_two_anchors_pull_together():
    """One calls the other. Each has its own strength, in all parts of a batch."""
    nlp = spacy.blank("en")
    toy = nlp.add_pipe("looking_toy")
    new = [Example(nlp.make_doc("new"), nlp.make_doc("new")) for _ in range(4)]
    inner = create_anchor_v1(importance="equal", strength=2.0)
    anchor = create_anchor_v1(importance="equal", strength=0.5, then=inner)
    toy.model.set_param("w", numpy.ones(3, "f"))
    anchor(nlp, {"step": 0, "epoch": 0})  # Both take the weights of now for the old ones.
    assert nlp.pipe_names == [NAME, NAME, "looking_toy", NAME, NAME]
    assert [pipe for _, pipe in nlp.pipeline][-2:] == [anchor.step, inner.step]
    toy.model.set_param("w", numpy.full(3, 3.0, "f"))
    train_step(nlp, new, plain_step(), parts=2)
    expected = 3.0 - 0.05 * 4 * (toy.h * (3.0 - toy.c) + 2.5 * 2.0)
    numpy.testing.assert_allclose(toy.model.get_param("w"), expected, rtol=1e-5)
    assert is_free(nlp)


def test_what_learns_nothing_in_a_step_is_not_stepped(tmp_path):
    """Texts without entities teach `ner` nothing: the pull alone must not move it. Nor what is frozen."""
    nlp, examples = stock_ner()
    nlp.to_disk(tmp_path / "old")
    train_step(nlp, examples, plain_step())
    anchor = create_anchor_v1(importance="equal", source=str(tmp_path / "old"))
    anchor(nlp, {"step": 0, "epoch": 0})
    blank = [Example(nlp.make_doc(t), Doc(nlp.vocab, words=t.split(), spaces=None)) for t in NAMES]
    before = values(nlp)
    train_step(nlp, blank, plain_step())
    assert all((array == before[name]).all() for name, array in values(nlp).items())
    anchor(nlp, {"step": 1, "epoch": 0})
    train_step(nlp, examples, plain_step(), exclude=["ner"])
    assert all((array == before[name]).all() for name, array in values(nlp).items())
    anchor(nlp, {"step": 2, "epoch": 0})
    train_step(nlp, examples, plain_step())
    assert any((array != before[name]).any() for name, array in values(nlp).items())


def test_texts_that_train_others_do_not_count(tiny_bert, tmp_path):
    """The pull of a head is that of its own texts, whatever else is in the batch; that of a backbone, of the texts that
    any of its heads learns from."""
    pulls = []
    for masked in ([], ["transfer_textcat"] * 4, ["ner"] * 4):
        fix_random_seed(0)
        nlp = spacy.blank("en")
        nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
        for name in ("transfer_tagger", "transfer_textcat", "ner"):
            nlp.add_pipe(name)
        nlp.initialize(lambda nlp=nlp: make_examples(nlp))
        nlp.to_disk(tmp_path / "old")
        for name in ("transfer_tagger", "transfer_textcat"):
            output = nlp.get_pipe(name).model.get_ref("output")
            output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
        train_step(nlp, make_examples(nlp), plain_step())
        one, *others = make_examples(nlp, [make_examples(nlp)[0].text, *(["a dog sings"] * len(masked))])
        note_origin(one.reference, "own", ["transfer_tagger"])
        for example, name in zip(others, masked, strict=True):
            note_origin(example.reference, "other", [name])
        results = []
        for strength in (0.0, 0.01):
            held = twin(nlp)
            create_anchor_v1(strength=strength, importance="equal", source=str(tmp_path / "old"))(held, {})
            fix_random_seed(0)
            train_step(held, [one, *others], plain_step())
            results.append(values(held, ["transfer_backbone", "transfer_tagger"]))
        pulls.append({name: results[1][name] - array for name, array in results[0].items()})
    for name, pull in pulls[0].items():
        assert numpy.abs(pull).max() > 1e-6 or "output" not in name, name
        n_docs = 5 if name.startswith("transfer_backbone") else 1
        if "word_embeddings" not in name and not name.startswith("transfer_backbone.transformer.pooler"):
            numpy.testing.assert_allclose(pulls[1][name], n_docs * pull, rtol=1e-2, atol=1e-6, err_msg=name)
            numpy.testing.assert_allclose(pulls[2][name], pull, rtol=1e-2, atol=1e-6, err_msg=name)


def test_frozen_layers_stay_bit_for_bit(tiny_bert, tmp_path):
    nlp, examples = textcat(tiny_bert)
    nlp.to_disk(tmp_path / "old")
    config = nlp.config.copy()
    config["components"]["transfer_backbone"]["model"]["tuning"] = {"@misc": "spacy-transfer.Tuning.v1", "freeze": 1}
    nlp = type(nlp).from_config(config).from_bytes(nlp.to_bytes())
    noise = numpy.random.default_rng(0)
    for p in parameters_of("transfer_backbone", nlp.get_pipe("transfer_backbone")):
        p.parameter.value.add_(torch.tensor(noise.normal(size=tuple(p.parameter.value.shape)), dtype=torch.float32))
    before = values(nlp)
    anchor = create_anchor_v1(importance="equal", source=str(tmp_path / "old"))
    for step in range(2):
        anchor(nlp, {"step": step, "epoch": 0})
        train_step(nlp, examples, plain_step(0.01))
    after = values(nlp)
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert not [name for name in moved if "embeddings" in name or ".layer.0." in name]
    assert [name for name in moved if ".layer.1." in name]


def test_at_its_origin_nothing_is_pulled(tiny_bert):
    nlp, examples = textcat(tiny_bert)
    free = twin(nlp)
    anchor = create_anchor_v1(strength=100.0, data=lambda nlp: examples)
    anchor(nlp, {"step": 0, "epoch": 0})
    assert anchor.step.strengths and anchor.step.penalty() == 0.0
    for one in (nlp, free):
        train_step(one, examples, plain_step())
    for (name, a), b in zip(values(nlp).items(), values(free).values(), strict=True):
        assert (a == b).all(), name


def test_a_copy_of_a_held_pipeline_trains_by_itself():
    nlp, examples = stock_ner()
    create_anchor_v1(importance="equal")(nlp, {"step": 0, "epoch": 0})
    other, before = copy.deepcopy(nlp), values(nlp)
    train_step(other, examples, plain_step())
    assert is_free(other) and not is_free(nlp)
    assert all((array == before[name]).all() for name, array in values(nlp).items())
    assert any((array != before[name]).any() for name, array in values(other).items())


# Labels that grow


@pytest.mark.parametrize("use_upper", [True, False])
def test_new_rows_of_stock_ner_are_free(use_upper):
    nlp, examples = stock_ner(use_upper=use_upper)
    old = OldWeights(nlp, ["ner"], None)
    rows = [nlp.get_pipe("ner").moves.get_class_name(i) for i in range(nlp.get_pipe("ner").moves.n_moves)]
    origin = values(nlp)
    nlp.get_pipe("ner").add_label("THING")
    pipe, found = nlp.get_pipe("ner"), Matches()
    now = [pipe.moves.get_class_name(i) for i in range(pipe.moves.n_moves)]
    both = old.look_up("ner", pipe, found)
    assert not found.missing and len(found.partly) == (2 if use_upper else 3)
    axes = {"W": 0, "b": 0} if use_upper else {"W": 1, "b": 0, "pad": 2}
    for name in found.partly:
        parameter, kept = both[name]
        axis = axes[parameter.parameter.own_name]
        for i, row in enumerate(now):
            mine, weight = kept.origin.take(i, axis), kept.importance.take(i, axis)
            assert (weight == (row in rows)).all()
            assert (mine == (origin[name].take(rows.index(row), axis) if row in rows else 0)).all()


def test_rows_go_by_their_labels_not_by_their_places(tiny_bert):
    """A CRF whose labels are in another order, and one more: each transition finds its own."""
    nlp, examples = ner_pipeline(tiny_bert, frozen=True)
    nlp.initialize(lambda: examples)
    rng = numpy.random.default_rng(1)
    for p in parameters_of("transfer_ner", nlp.get_pipe("transfer_ner")):
        p.parameter.owner.set_param(p.parameter.own_name, rng.normal(size=p.parameter.value.shape).astype("f"))
    old = OldWeights(nlp, ["transfer_ner"], None)
    tags, origin = nlp.get_pipe("transfer_ner").tags, values(nlp)
    spacy_transfer.pipeline.labels.edit.set_labels(nlp, "transfer_ner", ["NEW", "PER", "LOC"])
    now, found = nlp.get_pipe("transfer_ner").tags, Matches()
    assert now != tags
    both = old.look_up("transfer_ner", nlp.get_pipe("transfer_ner"), found)
    assert not found.missing and len(found.partly) == 5
    matrix = next(name for name in both if name.endswith(".matrix"))
    for i, a in enumerate(now):
        for j, b in enumerate(now):
            is_old = a in tags and b in tags
            assert both[matrix][1].importance[i, j] == is_old
            if is_old:
                assert both[matrix][1].origin[i, j] == origin[matrix][tags.index(a), tags.index(b)]
    W = next(name for name in both if name.endswith(".W"))
    for i, a in enumerate(now):
        assert (both[W][1].origin[i] == (origin[W][tags.index(a)] if a in tags else 0)).all()


def test_what_has_grown_is_held_in_its_corner(tiny_bert):
    """Rows of an embedding, say, have no labels to go by: the old ones come first."""
    nlp, _ = textcat(tiny_bert)
    old, start = OldWeights(nlp, ["transfer_backbone"], None), values(nlp)
    encoder = nlp.get_pipe("transfer_backbone").model.shims[0].encoder.transformer
    n_old = encoder.embeddings.word_embeddings.num_embeddings
    encoder.resize_token_embeddings(n_old + 3)
    found = Matches()
    both = old.look_up("transfer_backbone", nlp.get_pipe("transfer_backbone"), found)
    (name,) = found.partly
    kept = both[name][1]
    assert kept.origin.shape[0] == n_old + 3 and (kept.origin[:n_old].numpy() == start[name]).all()
    assert (kept.importance[:n_old] == 1).all() and not kept.importance[n_old:].any()


def test_estimating_draws_no_random_number():
    nlp, _ = stock_ner(1)
    states = random.getstate(), numpy.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    create_anchor_v1(data=lambda nlp: [Example(nlp.make_doc(t), nlp.make_doc(t)) for t in NAMES])(nlp, {})
    assert random.getstate() == states[0]
    assert (numpy.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_labels_that_come_in_the_middle_of_a_training():
    """The first batch makes `ner` larger, and with that replaces a layer: its old rows are held on."""
    nlp, examples = stock_ner()
    anchor = create_anchor_v1(importance="equal", strength=50.0)
    more = [Example.from_dict(nlp.make_doc("a big dog"), {"entities": [(6, 9, "ANIMAL")]}), *examples]
    start = values(nlp)
    free = twin(nlp)
    for one in (nlp, free):
        for step in range(5):
            if one is nlp:
                anchor(one, {"step": step, "epoch": 0})
            train_step(one, more, plain_step(0.001))
    name = next(n for n, a in values(nlp).items() if a.shape != start.get(n, a).shape and n.endswith(".W"))
    n_old = len(start[name])
    distance = [numpy.abs(values(one)[name][:n_old] - start[name]).sum() for one in (nlp, free)]
    assert 0 < distance[0] < 0.8 * distance[1]
    assert values(nlp)[name][n_old:].any()


# As part of a training


ANCHOR = """
[training.before_update]
@callbacks = "spacy-transfer.Anchor.v1"
strength = STRENGTH
source = "OLD"
[training.before_update.data]
gold_preproc = false
@readers = "spacy.Corpus.v1"
path = ${paths.new}
"""


def trained(tmp_path, anchor, name):
    from spacy.cli.train import train

    (tmp_path / f"{name}.cfg").write_text(
        (sourced_config("ner") + anchor).replace("OLD", (tmp_path / "old").as_posix())
    )
    overrides = {"paths.new": str(tmp_path / "train.spacy")}
    train(tmp_path / f"{name}.cfg", tmp_path / name, overrides=overrides)
    return values(spacy.load(tmp_path / name / "model-last"))


def test_by_config(tmp_path, capsys):
    """With strength 0 a training is bit for bit what it is without: estimating disturbs nothing. Held, it stays nearer,
    and what is saved needs no anchor."""
    nlp, examples = stock_ner()
    nlp.to_disk(tmp_path / "old")
    new = [Example.from_dict(nlp.make_doc(t), {"entities": [(0, len(t.split()[0]), "PER")]}) for t in NAMES]
    DocBin(docs=[eg.reference for eg in new]).to_disk(tmp_path / "train.spacy")
    start = values(nlp)
    free = trained(tmp_path, "", "free")
    zero = trained(tmp_path, ANCHOR.replace("STRENGTH", "0.0"), "zero")
    assert all((zero[name] == array).all() for name, array in free.items())
    held = trained(tmp_path, ANCHOR.replace("STRENGTH", "1000.0"), "held")
    distance = [sum(((some[n] - a) ** 2).sum() for n, a in start.items()) ** 0.5 for some in (free, held)]
    assert 0 < distance[1] < 0.9 * distance[0]
    assert "before_update" in (tmp_path / "held" / "model-last" / "config.cfg").read_text()
    spacy.load(tmp_path / "held" / "model-last")("anna smith")


def test_another_callback_runs_too():
    nlp, _ = stock_ner(1)
    seen = []
    anchor = create_anchor_v1(importance="equal", then=lambda nlp, info: seen.append(info["step"]))
    for step in range(2):
        anchor(nlp, {"step": step, "epoch": 0})
    assert seen == [0, 1]
    assert nlp.pipe_names == [NAME, "ner", NAME]  # One anchor, though it was called twice.


def test_strength_by_pattern_and_components(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert, ("tagger", "textcat"))[:2]
    anchor = create_anchor_v1(
        importance="equal", strength={r"layer\.1": 1.0, "embeddings": 0.0}, components=["transfer_backbone"]
    )
    anchor(nlp, {"step": 0, "epoch": 0})
    assert anchor.step.strengths and all(".layer.1." in name for name in anchor.step.strengths)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": -1.0}, "T681.*strength"),
        ({"strength": {}}, "T681.*strength"),
        ({"max_examples": 0}, "T681.*max_examples"),
        ({"targets": "gold"}, "T688.*None"),
        ({"targets": "gold", "data": "old.txt"}, "T688.*old.txt"),
        ({"components": ["nr"]}, r"T689.*'nr'.*\['ner'\]"),
        ({"importance": "equal", "strength": {"softmix": 1.0}}, "T650.*training.before_update.strength.*softmix"),
        ({"data": "nowhere.spacy"}, "T682.*nowhere"),
        ({"data": lambda nlp: []}, "T680.*zero examples"),
        ({"data": lambda nlp: [Example(nlp.make_doc(""), nlp.make_doc(""))]}, "T680.*zero examples"),
        ({"data": lambda nlp: [Example(nlp.make_doc("a b"), nlp.make_doc("a b"))], "targets": "gold"}, "T686.*1 texts"),
        ({"source": "no_such_pipeline"}, "T372.*training.before_update.source"),
    ],
)
def test_slips_of_the_pen(settings, message):
    nlp, _ = stock_ner(1)
    before = values(nlp)
    with pytest.raises(ValueError, match=message):
        create_anchor_v1(**settings)(nlp, {"step": 0, "epoch": 0})
    assert is_free(nlp)
    assert all((array == before[name]).all() for name, array in values(nlp).items())


def test_an_old_pipeline_with_nothing_in_common(tmp_path):
    nlp, _ = stock_ner(1)
    other = spacy.blank("en")
    other.add_pipe("sentencizer")
    other.to_disk(tmp_path / "other")
    with pytest.raises(ValueError, match="T687.*sentencizer"):
        create_anchor_v1(source=str(tmp_path / "other"), importance="equal")(nlp, {"step": 0, "epoch": 0})


def test_a_gradient_that_is_not_finite():
    nlp, examples = stock_ner(1)
    nlp.get_pipe("ner").model.get_ref("upper").get_param("W")[...] = numpy.inf
    with numpy.errstate(all="ignore"), pytest.raises(ValueError, match=r"T685.*\['ner'\]"):
        create_anchor_v1(targets="gold", data=lambda nlp: examples)(nlp, {"step": 0, "epoch": 0})
    assert is_free(nlp)


def test_gold_labels_that_the_old_pipeline_does_not_know():
    nlp, _ = stock_ner(1)
    unknown = Example.from_dict(nlp.make_doc("a dog"), {"entities": [(2, 5, "ANIMAL")]})
    with pytest.raises(ValueError, match="T684.*ANIMAL"):
        create_anchor_v1(targets="gold", data=lambda nlp: [unknown])(nlp, {"step": 0, "epoch": 0})
    assert nlp.get_pipe("ner").labels == ("LOC", "PER")


def test_raw_text_of_all_kinds(tmp_path):
    """As `Rehearsal.v1` and all others read it, a text a line: neither a form feed nor U+2028 ends one."""
    nlp = spacy.blank("en")
    texts = ["one\x0ctext", "an\u2028other"]
    lines, objects = "\n\n".join(texts) + "\n", "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "folder").mkdir()
    for name, packed in (("a.txt", lines), ("a.jsonl", objects), ("folder/a.txt", lines)):
        (tmp_path / name).write_text(packed, encoding="utf8")
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(packed.encode()))
    (tmp_path / "folder" / "a.txt.gz").unlink()
    for name in ("a.txt", "a.jsonl", "a.txt.gz", "a.jsonl.gz", "folder"):
        assert is_raw(tmp_path / name)
        found = [eg.text for eg in read_data(nlp, str(tmp_path / name), "data")]
        assert found == list(read_texts(tmp_path / name, "data")) == texts
    for line in ('{"txt": "one"}', '{"text": null}'):
        (tmp_path / "b.jsonl").write_text(f"{line}\n", encoding="utf8")
        with pytest.raises(ValueError, match=r"T552.*b\.jsonl, line 1"):
            list(read_data(nlp, tmp_path / "b.jsonl", "data"))
    (tmp_path / "blank.txt").write_text(" \n\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"T545.*blank\.txt"):
        list(read_data(nlp, tmp_path / "blank.txt", "data"))


def test_annotated_files_and_folders(tmp_path):
    """A folder is annotated if there is a .spacy file anywhere in it, and raw text otherwise."""
    nlp = spacy.blank("en")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "readme.txt").write_text("no example\n", encoding="utf8")
    DocBin(docs=[Doc(nlp.vocab, words=["one"], tags=["A"])]).to_disk(tmp_path / "folder" / "inner" / "a.spacy")
    for path in (tmp_path / "folder", tmp_path / "folder" / "inner" / "a.spacy"):
        assert not is_raw(path)
        assert [[token.tag_ for token in eg.reference] for eg in read_data(nlp, path, "data")] == [["A"]]
