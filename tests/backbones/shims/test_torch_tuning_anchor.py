"""The pull toward the pretrained weights, against a plain loop in torch."""

import shutil

import numpy
import pytest
import spacy
import torch
from safetensors.torch import load_file

from spacy_transfer.tuning.optimizers import sgd_v1
from spacy_transfer.tuning.policy import build_tuning_v1

from ...pipelines import step
from .test_torch_tuning import encoder, pipeline


def plain_gradient_step(rate):
    return sgd_v1(learn_rate=rate, momentum=0.0, grad_clip=0.0)


def state(nlp):
    return {name: p.detach().clone() for name, p in encoder(nlp).named_parameters()}


def run(source, n_steps, anchor, parts=1):
    nlp, examples, _ = pipeline(source, anchor=anchor)
    optimizer = plain_gradient_step(0.02)
    for _ in range(n_steps):
        for part in range(parts):
            nlp.update(examples[part::parts], sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        optimizer.step_schedules()
    return nlp, examples


def test_the_step_has_the_pull_in_it(tiny_bert):
    """One more step with and without anchor from the same place: they differ by rate * strength * docs * distance."""
    nlp, examples = run(tiny_bert, 3, anchor=0.05)
    before = state(nlp)
    origin = {f"transformer.{name}": tensor for name, tensor in load_file(f"{tiny_bert}/model.safetensors").items()}
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    twin = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    twin.get_pipe("transfer_backbone").model.shims[0]._strengths = {}
    for one in (nlp, twin):
        optimizer = plain_gradient_step(0.02)
        step(one, examples, optimizer)
        optimizer.step_schedules()
    with_pull, without = state(nlp), state(twin)
    assert len(shim._origin) == len(origin)
    for name, tensor in origin.items():
        if "pooler" not in name:
            expected = without[name] - 0.02 * 0.05 * len(examples) * (before[name] - tensor)
            torch.testing.assert_close(with_pull[name], expected, rtol=1e-5, atol=1e-7)
    assert any((with_pull[name] != without[name]).any() for name in origin)


def test_a_stronger_pull_stays_nearer(tiny_bert):
    start = {f"transformer.{name}": tensor for name, tensor in load_file(f"{tiny_bert}/model.safetensors").items()}
    distances = []
    for anchor in (None, 0.1, 1.0):
        after = state(run(tiny_bert, 8, anchor)[0])
        distances.append(float(sum((after[name] - tensor).square().sum() for name, tensor in start.items()) ** 0.5))
    assert distances[0] > distances[1] > distances[2] > 0


def test_parts_of_a_batch_pull_as_the_batch_does(tiny_bert):
    whole, parts = state(run(tiny_bert, 3, 0.1)[0]), state(run(tiny_bert, 3, 0.1, parts=2)[0])
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-6)


def test_strength_by_pattern(tiny_bert):
    free, pulled = run(tiny_bert, 5, None)[0], run(tiny_bert, 5, {r"layer\.0\.": 5.0})[0]
    start = {f"transformer.{name}": tensor for name, tensor in load_file(f"{tiny_bert}/model.safetensors").items()}

    def distance(nlp, part):
        after = state(nlp)
        return float(sum((after[n] - t).square().sum() for n, t in start.items() if part in n) ** 0.5)

    assert distance(pulled, "layer.0.") < 0.9 * distance(free, "layer.0.")
    shim = pulled.get_pipe("transfer_backbone").model.shims[0]
    assert shim._strengths and all(".layer.0." in name for name in shim._strengths)


def test_a_loaded_pipeline_is_pulled_to_the_same_weights(tiny_bert, tmp_path):
    nlp, examples = run(tiny_bert, 3, 0.1)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for one in (nlp, loaded):
        optimizer = plain_gradient_step(0.02)
        step(one, examples, optimizer)
        optimizer.step_schedules()
    for (name, one), other in zip(state(nlp).items(), state(loaded).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8, msg=name)


def test_a_source_that_is_gone_or_changed(tiny_bert, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(tiny_bert, source)
    nlp, examples = run(str(source), 1, 0.1)
    nlp.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    with numpy.errstate(all="ignore"):
        (source / "config.json").write_text((source / "config.json").read_text() + " ")
    with pytest.raises(ValueError, match="T651.*others now"):
        step(loaded, examples, plain_gradient_step(0.1))
    shutil.rmtree(source)
    with pytest.raises(ValueError, match="T651.*cannot be read"):
        step(spacy.load(tmp_path / "saved"), examples, plain_gradient_step(0.1))
    assert spacy.load(tmp_path / "saved")("a dog").tensor.any()  # To predict, it needs no source.


def test_slips_of_the_pen(tiny_bert):
    with pytest.raises(ValueError, match="T650.*laier.*layer"):
        pipeline(tiny_bert, anchor={"laier.0": 0.1})
    with pytest.raises(ValueError, match="T611.*anchor"):
        build_tuning_v1(anchor=-1.0)
    with pytest.raises(ValueError, match="T612"):
        build_tuning_v1(anchor=0.1, freeze="all")
