"""What is not finite, gradient checkpointing, loss scale, averages, accumulation.

Guards also: loss_scale.py.
"""

import numpy
import pytest
import spacy
import torch
from spacy.cli.train import train
from spacy.tokens import DocBin
from thinc.api import Adam

from spacy_transfer.backbones.shims.loss_scale import LossScale
from spacy_transfer.tuning.optimizers import adamw_v1

from ...pipelines import TEXTS, make_examples, make_pipeline, step
from .test_torch_tuning import encoder, pipeline


def state(nlp):
    return {name: p.detach().clone() for name, p in encoder(nlp).named_parameters()}


@pytest.mark.parametrize("make", [lambda: Adam(0.01), adamw_v1], ids=["Thinc's", "ours"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_head_that_sends_what_is_not_finite(tiny_bert, make, value, monkeypatch):
    nlp, examples, _ = make_pipeline(tiny_bert, ["tagger", "textcat"])
    optimizer = make()
    for _ in range(2):
        step(nlp, examples, optimizer)
    textcat = nlp.get_pipe("textcat")
    get_loss = textcat.get_loss

    def broken(examples, scores):
        loss, d_scores = get_loss(examples, scores)
        return loss, d_scores * value

    before = state(nlp)
    monkeypatch.setattr(textcat, "get_loss", broken)
    what = "NaN" if numpy.isnan(value) else "NaN|infinite"
    with pytest.raises(ValueError, match=rf"T654.*Step 2.*textcat sends to transfer_backbone.*({what}).*tagger \d"):
        step(nlp, examples, optimizer)
    assert all((tensor == before[name]).all() for name, tensor in state(nlp).items())
    monkeypatch.undo()
    step(nlp, examples, optimizer)  # Nothing of the broken batch is left.
    assert all(torch.isfinite(tensor).all() for tensor in state(nlp).values())


def test_a_broken_part_takes_the_whole_step_with_it(tiny_bert, monkeypatch):
    """Of gradients that are accumulated, those that came before must not go into the next step."""
    nlp, examples, _ = make_pipeline(tiny_bert)
    step(nlp, examples, Adam(0.01))
    tagger = nlp.get_pipe("tagger")
    get_loss = tagger.get_loss
    nlp.update(examples[:2], sgd=False)
    monkeypatch.setattr(tagger, "get_loss", lambda *args: (0.0, [d * float("nan") for d in get_loss(*args)[1]]))
    nlp.update(examples[2:], sgd=False)
    with pytest.raises(ValueError, match="T654"):
        nlp.get_pipe("transfer_backbone").finish_update(Adam(0.01))
    assert all(p.grad is None for p in encoder(nlp).parameters())


def test_errors_of_a_backbone_bear_its_name(tiny_bert):
    from ...pipelines import backbone_config

    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", name="reader", config=backbone_config(tiny_bert))
    assert nlp.get_pipe("reader").model.shims[0].owner == "reader"


def test_a_gradient_that_breaks_on_its_way(tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert)
    step(nlp, examples, adamw_v1())
    before = state(nlp)
    layer = encoder(nlp).transformer.encoder.layer[0].output.dense
    hook = layer.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * float("inf"),))
    nlp.update(examples, sgd=False)
    with pytest.raises(ValueError, match=r"T652.*Step 1.*transfer_backbone.*(NaN|infinite).*transformer\."):
        nlp.get_pipe("transfer_backbone").finish_update(adamw_v1())
    hook.remove()
    after = state(nlp)
    assert all((after[name] == tensor).all() for name, tensor in before.items())
    assert all(p.grad is None for p in encoder(nlp).parameters())


def test_best_model_stays_when_training_breaks(tiny_bert, tmp_path, capsys):
    """A rate that no training survives, after a warm-up that one does."""
    nlp, examples, _ = make_pipeline(tiny_bert, ["textcat"])
    DocBin(docs=[example.reference for example in examples]).to_disk(tmp_path / "train.spacy")
    config = nlp.config.copy()
    config["corpora"]["train"]["path"] = config["corpora"]["dev"]["path"] = str(tmp_path / "train.spacy")
    config["training"].update(max_steps=40, eval_frequency=4, patience=0, seed=0)
    config["training"]["optimizer"] = {
        "@optimizers": "spacy-transfer.SGD.v1",
        "grad_clip": 0.0,
        "learn_rate": {"@schedules": "constant_then.v1", "rate": 0.01, "steps": 6}
        | {"schedule": {"@schedules": "constant.v1", "rate": 1e30}},
    }
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="T65[24]"):
        train(tmp_path / "config.cfg", tmp_path / "out")
    best = spacy.load(tmp_path / "out" / "model-best")
    assert all(torch.isfinite(p).all() for p in encoder(best).parameters())
    capsys.readouterr()


@pytest.mark.parametrize("packed", [True, False])
def test_checkpointing_changes_memory_and_nothing_else(tiny_bert, monkeypatch, packed):
    if not packed:
        monkeypatch.setattr("spacy_transfer.backbones.transformer.encoder.find_way", lambda transformer: None)
    passes = {}
    results = {}
    for checkpointing in (False, True):
        nlp, examples, _ = pipeline(tiny_bert, checkpointing=checkpointing, freeze="embeddings")
        calls = []
        dense = encoder(nlp).transformer.encoder.layer[1].intermediate.dense
        dense.register_forward_hook(lambda *args, calls=calls: calls.append(1))
        optimizer = adamw_v1(learn_rate=0.01)
        for _ in range(3):
            step(nlp, examples, optimizer)
            optimizer.step_schedules()
        passes[checkpointing], results[checkpointing] = len(calls), state(nlp)
    assert passes[True] > passes[False]  # Inside a layer all is computed once more.
    for name, tensor in results[False].items():
        torch.testing.assert_close(results[True][name], tensor, rtol=1e-5, atol=1e-6)


def test_averages_reach_the_backbone(tiny_bert):
    """Against the mean kept by hand. At first the tagger's weights are zeros: so are the gradients that it sends, and
    nothing of the backbone moves, or counts."""
    nlp, examples, _ = make_pipeline(tiny_bert)
    optimizer = adamw_v1(learn_rate=0.01, use_averages=True)
    kept, name = None, "transformer.encoder.layer.1.output.dense.weight"
    start = state(nlp)[name].clone()
    for n in range(6):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
        if n == 0:
            assert (encoder(nlp).get_parameter(name) == start).all()
            continue
        now, decay = encoder(nlp).get_parameter(name).detach().clone(), min((1 + n) / (10 + n), 0.9999)
        kept = (1 - decay) * now if kept is None else decay * kept + (1 - decay) * now
    own = state(nlp)
    with nlp.use_params(optimizer.averages):
        torch.testing.assert_close(encoder(nlp).get_parameter(name).detach(), kept, rtol=1e-5, atol=1e-7)
    assert all((tensor == own[key]).all() for key, tensor in state(nlp).items())


def gradients_of(nlp, examples, parts):
    for part in range(parts):
        nlp.update(examples[part::parts], sgd=False)
    nlp.get_pipe("transfer_backbone").steps.flush()
    return {name: p.grad.clone() for name, p in encoder(nlp).named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "tuning", [{}, {"freeze": 1}, {"checkpointing": True}, {"adapter": {"method": "lora", "r": 2}}]
)
def test_gradients_of_parts_add_up_to_the_batchs(tiny_bert, tuning):
    nlp, examples, _ = pipeline(tiny_bert, **tuning)
    step(nlp, examples, Adam(0.01))
    whole = gradients_of(nlp, examples, 1)
    nlp.get_pipe("transfer_backbone").model.shims[0].drop_gradients()
    parts = gradients_of(nlp, examples, 2)
    assert whole.keys() == parts.keys()
    scale = max(float(gradient.abs().max()) for gradient in whole.values())
    assert scale > 0
    for name, gradient in whole.items():
        assert float((gradient - parts[name]).abs().max()) <= 1e-6 * scale


def test_the_loss_scale_is_taken_out_once_a_step(tiny_bert):
    """fp16 itself needs CUDA; its scale does not: with it, in whatever parts, the gradients are those without."""
    nlp, examples, _ = make_pipeline(tiny_bert)
    step(nlp, examples, Adam(0.01))
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    expected = gradients_of(nlp, examples, 1)
    shim.drop_gradients()
    shim.loss_scale = LossScale(scale=1024.0)
    scaled = gradients_of(nlp, examples, 2)
    name = "transformer.encoder.layer.1.output.dense.weight"
    torch.testing.assert_close(scaled[name], 1024 * expected[name], rtol=1e-4, atol=1e-5)
    taken = {}

    class Keep:
        def __call__(self, key, weights, gradient, **kwargs):
            taken[key[1]] = gradient.copy()
            return weights, gradient

    shim.finish_update(Keep())
    numpy.testing.assert_allclose(taken[name], expected[name].numpy(), rtol=1e-4, atol=1e-6)


def test_the_loss_scale_gives_way_and_grows_again():
    scale = LossScale(scale=8.0, interval=2)
    grads = [torch.ones(2)]
    assert not scale.unscale(grads, is_finite=False) and scale.scale == 4.0
    assert scale.unscale(grads, is_finite=True)
    assert grads[0].tolist() == [0.25, 0.25] and scale.scale == 4.0
    assert scale.unscale(grads, is_finite=True) and scale.scale == 8.0


def test_a_step_that_overflowed_is_left_out_and_counted(tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert)
    step(nlp, examples, Adam(0.01))
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    shim.loss_scale, before, steps = LossScale(scale=1e38), state(nlp), shim.steps
    step(nlp, examples, Adam(0.01))
    assert all((tensor == before[name]).all() for name, tensor in state(nlp).items())
    assert shim.loss_scale.scale < 1e38 and shim.steps == steps + 1


def test_fp16_needs_cuda(tiny_bert):
    from ...pipelines import backbone_config

    with pytest.raises(ValueError, match="T115.*fp16"):
        make_pipeline(tiny_bert, model={**backbone_config(tiny_bert)["model"], "precision": "fp16"})


def test_texts_without_tokens_count_for_nothing(tiny_bert):
    nlp, _, _ = pipeline(tiny_bert, freeze=1)
    examples = make_examples(nlp, [*TEXTS])
    optimizer = adamw_v1(learn_rate=0.01)
    for _ in range(2):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
    assert nlp.get_pipe("transfer_backbone").model.shims[0].steps == 2
