"""A tuning block in a pipeline: which parameters moved, layer by layer, zero to the last bit."""

import numpy
import pytest
import spacy
import torch
from thinc.api import SGD, Adam, RAdam

from spacy_transfer.tuning.optimizers import adamw_v1, sgd_v1

from ...pipelines import TEXTS, make_pipeline, step

DEPTHS = {"embeddings": 0, "encoder.layer.0": 1, "encoder.layer.1": 2}


def pipeline(source, heads=("tagger",), **tuning):
    block = {"@misc": "spacy-transfer.Tuning.v1", **tuning}
    model = {
        "@architectures": "spacy-transfer.TransformerBackbone.v1",
        "source": source,
        "window": 32,
        "overlap": 8,
        "tuning": block,
    }
    return make_pipeline(source, heads, model=model)


def encoder(nlp):
    return nlp.get_pipe("transfer_backbone").model.shims[0].encoder


def state(nlp):
    return {name: p.detach().clone() for name, p in encoder(nlp).named_parameters()}


def moved(nlp, before):
    """Depths in which any number changed."""
    changed = {name for name, p in encoder(nlp).named_parameters() if (p.detach() != before[name]).any()}
    return sorted({depth for name in changed for part, depth in DEPTHS.items() if f"transformer.{part}." in name})


OPTIMIZERS = {
    "Thinc's Adam": lambda: Adam(0.01, L2=0.1),
    "ours": lambda: adamw_v1(learn_rate=0.01, weight_decay=0.1, no_decay=""),
}


@pytest.mark.parametrize("make", sorted(OPTIMIZERS))
@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        (None, [0, 1, 2]),
        ("embeddings", [1, 2]),
        (1, [2]),
        (2, []),
        ("all", []),
        ([r"layer\.0\.", r"embeddings"], [2]),
    ],
)
def test_frozen_is_frozen(tiny_bert, freeze, expected, make):
    """After warm steps of everything, so that momentum is there to betray what was frozen late."""
    nlp, examples, _ = pipeline(tiny_bert, freeze=freeze)
    optimizer, before = OPTIMIZERS[make](), state(nlp)
    for _ in range(4):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
    assert moved(nlp, before) == expected
    for name, parameter in encoder(nlp).named_parameters():
        if (parameter == before[name]).all():
            assert parameter.grad is None


@pytest.mark.parametrize("make", sorted(OPTIMIZERS))
def test_thawing_and_freezing_again(tiny_bert, make):
    nlp, examples, _ = pipeline(tiny_bert, head_first=2, unfreeze={"0": 1, "2": 3, "4": 1})
    optimizer, seen = OPTIMIZERS[make](), []
    for _ in range(8):
        before = state(nlp)
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
        seen.append(moved(nlp, before))
    assert seen == [[], [], [2], [2], [0, 1, 2], [0, 1, 2], [2], [2]]


def test_head_first_computes_each_text_once_and_forgets_the_rows(tiny_bert, monkeypatch):
    nlp, examples, _ = pipeline(tiny_bert, head_first=3)
    backbone = nlp.get_pipe("transfer_backbone")
    shim, calls = backbone.model.shims[0], []
    cut = shim.cut
    monkeypatch.setattr(shim, "cut", lambda docs: calls.append(len(docs)) or cut(docs))
    optimizer = adamw_v1(learn_rate=0.05)
    for _ in range(3):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
    assert calls == [4]
    for _ in range(2):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
    # Rows of the old weights must not be served any more.
    found = backbone.predict([nlp.make_doc(TEXTS[0])]).rows[0]
    fresh = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())(TEXTS[0]).tensor
    numpy.testing.assert_allclose(found, fresh, atol=1e-6)


def test_layer_decay_scales_the_step(tiny_bert):
    """Plain gradient descent: the step is the gradient times the rate, so ratios of steps are ratios of rates."""
    changes = {}
    for decay in (None, 0.5):
        nlp, examples, _ = pipeline(tiny_bert, layer_decay=decay)
        step(nlp, examples, SGD(0.1))  # the head's weights begin at zero and send no gradient
        before = state(nlp)
        optimizer = sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0)
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
        changes[decay] = {name: (p.detach() - before[name]) for name, p in encoder(nlp).named_parameters()}
    factors = {"embeddings.word": 0.25, "layer.0.attention.self.value.weight": 0.5, "layer.1.output.dense.weight": 1.0}
    for part, factor in factors.items():
        (name,) = [n for n in changes[None] if part in n]
        assert changes[None][name].abs().max() > 1e-6
        torch.testing.assert_close(changes[0.5][name], factor * changes[None][name], rtol=1e-3, atol=1e-7)


def test_radam_cannot_scale(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, layer_decay=0.5)
    with pytest.raises(ValueError, match="T618"):
        for _ in range(2):
            step(nlp, examples, RAdam(0.01))


def test_dropout_is_off_below_the_boundary(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, freeze=1)
    step(nlp, examples, Adam(0.01))
    training = {name: module.training for name, module in encoder(nlp).named_modules() if name.endswith("dropout")}
    assert training["transformer.embeddings.dropout"] is training["transformer.encoder.layer.0.output.dropout"] is False
    assert training["transformer.encoder.layer.1.output.dropout"] is True


def test_settings_and_steps_survive(tiny_bert, tmp_path):
    nlp, examples, _ = pipeline(tiny_bert, head_first=3, freeze="embeddings")
    optimizer = Adam(0.01)
    for _ in range(3):
        step(nlp, examples, optimizer)
    nlp.to_disk(tmp_path)
    for again in (spacy.load(tmp_path), nlp.from_bytes(nlp.to_bytes())):
        shim = again.get_pipe("transfer_backbone").model.shims[0]
        assert shim.steps == 3 and not shim.is_frozen
        before = state(again)
        step(again, examples, Adam(0.01))
        step(again, examples, Adam(0.01))
        assert moved(again, before) == [1, 2]


def test_it_moves_into_a_head_with_replace_listeners(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, freeze=1)
    nlp.replace_listeners("transfer_backbone", "tagger", ["model.tok2vec"])
    nlp.remove_pipe("transfer_backbone")
    (shim,) = [s for node in nlp.get_pipe("tagger").model.walk() for s in node.shims if hasattr(s, "policy")]
    before = {name: p.detach().clone() for name, p in shim.encoder.named_parameters()}
    for _ in range(3):
        step(nlp, examples, Adam(0.01))
    changed = {name for name, p in shim.encoder.named_parameters() if (p.detach() != before[name]).any()}
    assert changed and all("layer.1." in name or "pooler" in name for name in changed)


def test_frozen_and_tuned_at_once(tiny_bert):
    with pytest.raises(ValueError, match=r"T619.*transfer_backbone"):
        block = {"@misc": "spacy-transfer.Tuning.v1", "freeze": 1}
        model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": tiny_bert, "window": 32}
        make_pipeline(tiny_bert, frozen=True, model={**model, "tuning": block})
