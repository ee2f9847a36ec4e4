"""What stands below everything that moves: computed once, and never wrong."""

import numpy
import pytest
import spacy
import torch

from spacy_transfer.tuning.optimizers import adamw_v1, sgd_v1

from ...checkpoints import write_checkpoint
from ...pipelines import TEXTS, backbone_config, make_pipeline, step
from .test_torch_tuning import encoder

LONG = ["dogs see the big cat here and sing. " * 8, *TEXTS]


def pipeline(source, heads=("tagger",), component=None, **tuning):
    block = {"@misc": "spacy-transfer.Tuning.v1", **tuning}
    model = {**backbone_config(source)["model"], "tuning": block}
    return make_pipeline(source, heads, model=model, **(component or {}))


def train(nlp, examples, n_steps):
    # Not Adam, which makes whole steps of the rounding errors of gradients near 0.
    optimizer = sgd_v1(learn_rate=0.05, weight_decay=0.01)
    losses = []
    for _ in range(n_steps):
        losses.append(step(nlp, examples, optimizer)["tagger"])
        optimizer.step_schedules()
    return losses, {name: p.detach().clone() for name, p in encoder(nlp).named_parameters()}


NO_CACHE = {"cache_mb": 0}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("component", [{}, {"cache_mb": 0, "cache_disk_mb": 1}], ids=["memory", "disk"])
def test_training_with_the_cache_is_training_without(tiny_bert, monkeypatch, packed, component):
    if not packed:
        monkeypatch.setattr("spacy_transfer.backbones.transformer.encoder.find_way", lambda transformer: None)
    expected, weights = train(*pipeline(tiny_bert, component=NO_CACHE, freeze=1)[:2], 6)
    found, weights_with = train(*pipeline(tiny_bert, component=component, freeze=1)[:2], 6)
    assert found == pytest.approx(expected, rel=1e-5)
    for name, tensor in weights.items():
        torch.testing.assert_close(weights_with[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_the_cache_and_checkpointing_at_once(tiny_bert, monkeypatch, packed):
    """What is computed again for the backward pass must begin from the states that the first pass began from."""
    if not packed:
        monkeypatch.setattr("spacy_transfer.backbones.transformer.encoder.find_way", lambda transformer: None)
    expected, weights = train(*pipeline(tiny_bert, component=NO_CACHE, freeze=1)[:2], 4)
    found, weights_with = train(*pipeline(tiny_bert, freeze=1, checkpointing=True)[:2], 4)
    assert found == pytest.approx(expected, rel=1e-5)
    for name, tensor in weights.items():
        torch.testing.assert_close(weights_with[name], tensor, rtol=1e-4, atol=1e-5)


def count_lower(monkeypatch):
    """How many pieces went through the lower layers, call by call."""
    from spacy_transfer.backbones.transformer import encoder as module

    calls, packed_states = [], module.packed_states

    def counted(transformer, ids, sizes, **how):
        if how.get("end") is not None:
            calls.append(int(sizes.sum()))
        return packed_states(transformer, ids, sizes, **how)

    monkeypatch.setattr(module, "packed_states", counted)
    return calls


def test_lower_layers_run_once_a_text(tiny_bert, monkeypatch):
    calls = count_lower(monkeypatch)
    nlp, examples, _ = pipeline(tiny_bert, freeze=1)
    train(nlp, examples, 3)
    assert len(calls) == 1
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    assert len(shim._cache) == len(TEXTS)
    train(nlp, examples[:2], 2)
    assert len(calls) == 1


def test_thawing_forgets_the_states(tiny_bert, monkeypatch):
    """While the top layer alone moves, states below it are kept; once all moves none are; frozen again, they are made
    anew, of weights that have moved.
    """
    calls = count_lower(monkeypatch)
    nlp, examples, _ = pipeline(tiny_bert, unfreeze={"0": 1, "2": 3, "4": 1})
    optimizer, seen = adamw_v1(learn_rate=0.02), []
    for _ in range(6):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
        seen.append(len(calls))
    assert seen == [1, 1, 1, 1, 2, 2]
    rows = numpy.concatenate([doc.tensor for doc in nlp.pipe(TEXTS)])
    fresh = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    numpy.testing.assert_allclose(rows, numpy.concatenate([doc.tensor for doc in fresh.pipe(TEXTS)]), atol=1e-6)


def test_states_are_not_part_of_a_copy_or_of_what_is_saved(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, freeze=1)
    size = len(nlp.to_bytes())
    train(nlp, examples, 2)
    assert abs(len(nlp.to_bytes()) - size) < 100
    assert nlp.get_pipe("transfer_backbone").model.shims[0]._cache is not None
    assert nlp.get_pipe("transfer_backbone").model.copy().shims[0]._cache is None


def test_half_precision_states_are_close(tiny_bert):
    expected, _ = train(*pipeline(tiny_bert, component=NO_CACHE, freeze=1)[:2], 3)
    found, _ = train(*pipeline(tiny_bert, component={"cache_dtype": "float16"}, freeze=1)[:2], 3)
    assert found == pytest.approx(expected, rel=1e-2)
    assert found != expected


def test_a_mix_of_layers_wants_all_of_them(tiny_bert, monkeypatch):
    calls = count_lower(monkeypatch)
    block = {"@misc": "spacy-transfer.Tuning.v1", "freeze": 1}
    model = {**backbone_config(tiny_bert)["model"], "tuning": block, "layers": "mix"}
    nlp, examples, _ = make_pipeline(tiny_bert, model=model)
    losses, _ = train(nlp, examples, 5)
    assert not calls and losses[-1] < losses[0]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("freeze", [1, 2])
def test_several_layers_are_taken_from_above_what_is_kept(tmp_path, monkeypatch, packed, freeze):
    """Of three layers the upper two make rows: states after the first are kept, though the second may be frozen."""
    source = write_checkpoint(tmp_path, "Bert", num_hidden_layers=3, hidden_dropout_prob=0.0)
    calls = count_lower(monkeypatch)
    if not packed:
        monkeypatch.setattr("spacy_transfer.backbones.transformer.encoder.find_way", lambda transformer: None)

    def run(**component):
        block = {"@misc": "spacy-transfer.Tuning.v1", "freeze": freeze}
        model = {**backbone_config(source)["model"], "tuning": block, "layers": 2}
        nlp, examples, _ = make_pipeline(source, model=model, **component)
        return nlp, *train(nlp, examples, 4)

    _, expected, weights = run(**NO_CACHE)
    nlp, found, weights_with = run()
    assert found == pytest.approx(expected, rel=1e-4)
    for name, tensor in weights.items():
        torch.testing.assert_close(weights_with[name], tensor, rtol=1e-3, atol=1e-4)
    assert len(nlp.get_pipe("transfer_backbone").model.shims[0]._cache) == len(TEXTS)
    assert len(calls) == packed


def test_adapters_in_upper_layers_leave_the_lower_to_the_cache(tiny_bert, monkeypatch):
    calls = count_lower(monkeypatch)
    adapter = {"method": "lora", "r": 2, "layers_to_transform": [1], "layers_pattern": "layer"}
    nlp, examples, _ = pipeline(tiny_bert, adapter=adapter)
    losses, _ = train(nlp, examples, 4)
    assert len(calls) == 1 and losses[-1] < losses[0]


def test_no_gradient_below_the_boundary(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, component=NO_CACHE, freeze=1)
    train(nlp, examples, 1)
    step_through = []
    for name, module in encoder(nlp).named_modules():
        if name.endswith("layer.0") or name.endswith("layer.1"):
            module.register_full_backward_pre_hook(lambda m, g, name=name: step_through.append(name))
    nlp.update(examples, sgd=False)
    nlp.get_pipe("transfer_backbone").finish_update(adamw_v1())
    assert not [name for name in step_through if name.endswith("layer.0")]
