"""A tuning block on backbones of Thinc's layers: which parameters moved, zero to the last bit.

Guards also: parameter.py, thinc_weights.py, tunable.py.
"""

import numpy
import pytest
import spacy
from thinc.api import SGD, Adam, RAdam

from spacy_transfer.backbones.shims.thinc_tuning import LayersShim
from spacy_transfer.backbones.tok2vec import build_pipeline_backbone_v1
from spacy_transfer.pipeline.parameter_table import overview
from spacy_transfer.pipeline.parameters import parameters_of, register_names
from spacy_transfer.tuning.optimizers import adamw_v1, sgd_v1
from spacy_transfer.tuning.policy import Tuning

from ...pipeline.backbone.test_component_other_backbones import sources  # noqa: F401
from ...pipelines import HEADS, TEXTS, make_examples, make_pipeline, step

CONTEXTS = {
    "cnn": {"@architectures": "spacy-transfer.CNNContext.v1", "width": 16, "depth": 2},
    "bilstm": {"@architectures": "spacy-transfer.BiLSTMContext.v1", "width": 16},
}
# Depths: 0 the table or what embeds; then the projection, the context's projection and convolutions, or its LSTM.
BACKBONES = {
    "vectors": {"finetune": True, "width": 12},
    "cnn": {"finetune": True, "width": 12, "context": CONTEXTS["cnn"]},
    "bilstm": {"finetune": True, "width": 12, "context": CONTEXTS["bilstm"]},
    "still cnn": {"finetune": False, "width": 12, "context": CONTEXTS["cnn"]},
    "still bilstm": {"finetune": False, "width": 12, "context": CONTEXTS["bilstm"]},
    "pipeline": {},
    "hash": {"width": 16, "rows": [50] * 4, "context": CONTEXTS["cnn"]},
}
OPTIMIZERS = {
    "Thinc's Adam": lambda: Adam(0.01, L2=0.1),
    "ours": lambda: adamw_v1(learn_rate=0.01, weight_decay=0.1, no_decay=""),
}


@pytest.fixture
def build(sources):  # noqa: F811
    """Makes a pipeline with a tagger on a backbone."""

    def make(kind, *, frozen=False, more=(), **tuning):
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("en")
        name, source = {"pipeline": ("Pipeline", "pipeline"), "hash": ("HashEmbed", None)}.get(
            kind, ("Vectors", "vectors.txt")
        )
        model = {"@architectures": f"spacy-transfer.{name}Backbone.v1", **BACKBONES[kind], **dict(more)}
        if source is not None:
            model["source"] = str(sources / source)
        if tuning:
            model["tuning"] = {"@misc": "spacy-transfer.Tuning.v1", **tuning}
        nlp.add_pipe("transfer_backbone", config={"model": model, "frozen": frozen})
        nlp.add_pipe("tagger", config={"model": HEADS["tagger"]})
        examples = make_examples(nlp)
        nlp.initialize(lambda: examples)
        return nlp, examples

    return make


def shim_of(nlp, name="transfer_backbone"):
    """The shim with the tuning, wherever it stands."""
    (shim,) = [s for node in nlp.get_pipe(name).model.walk() for s in node.shims if isinstance(s, LayersShim)]
    parameters_of(name, nlp.get_pipe(name))  # Binds it to its node.
    return shim


def state(nlp, name="transfer_backbone"):
    return {key: numpy.array(weight.parameter.value) for key, weight in shim_of(nlp, name).weights.items()}


def depth_of(name):
    return 0 if name.startswith("embeddings.") else int(name.split(".")[1]) + 1


def moved(nlp, before, name="transfer_backbone"):
    """Depths in which any number changed."""
    now = state(nlp, name)
    return sorted({depth_of(key) for key in now if (now[key] != before[key]).any()})


def train(nlp, examples, optimizer, n_steps):
    for _ in range(n_steps):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()


def test_names(build):
    cnn = set(shim_of(build("cnn")[0]).weights)
    blocks = {f"layer.{i}.{part}" for i in (2, 3) for part in ("maxout.W", "maxout.b", "layernorm.G", "layernorm.b")}
    assert cnn == {"embeddings.E", "layer.0.W", "layer.0.b", "layer.1.W", "layer.1.b"} | blocks
    lstm = set(shim_of(build("bilstm")[0]).weights)
    assert {"embeddings.E", "layer.0.W", "layer.1.weight_ih_l0", "layer.1.bias_hh_l0_reverse"} < lstm
    pipeline = set(shim_of(build("pipeline")[0]).weights)
    assert {"embeddings.hashembed.0.E", "embeddings.maxout.W", "layer.0.maxout.W", "layer.1.layernorm.G"} < pipeline
    assert max(depth_of(name) for name in pipeline) == 2
    fresh = set(shim_of(build("hash")[0]).weights)
    assert {"embeddings.hashembed.0.E", "embeddings.maxout.W", "layer.0.W", "layer.2.maxout.W"} < fresh
    assert max(depth_of(name) for name in fresh) == 3


@pytest.mark.parametrize("make", sorted(OPTIMIZERS))
@pytest.mark.parametrize(
    ("kind", "freeze", "expected"),
    [
        ("vectors", None, [0, 1]),
        ("cnn", None, [0, 1, 2, 3, 4]),
        ("cnn", [r"layer\.[01]\.", r"layernorm"], [0, 3, 4]),
        ("bilstm", None, [0, 1, 2]),
        ("bilstm", [r"^layer\.1\."], [0, 1]),
        ("still cnn", 2, [3, 4]),
        ("still cnn", 3, [4]),
        ("still cnn", "all", []),
        ("still bilstm", 1, [2]),
        ("still bilstm", [r"^layer\.1\."], [1]),
        ("still bilstm", 2, []),
        ("pipeline", None, [0, 1, 2]),
        ("pipeline", "embeddings", [1, 2]),
        ("pipeline", 1, [2]),
        ("pipeline", [r"^layer\."], [0]),
        ("pipeline", "all", []),
        ("hash", None, [0, 1, 2, 3]),
        ("hash", "embeddings", [1, 2, 3]),
        ("hash", 2, [3]),
        ("hash", "all", []),
    ],
)
def test_frozen_is_frozen(build, kind, freeze, expected, make):
    nlp, examples = build(kind, freeze=freeze)
    optimizer, before = OPTIMIZERS[make](), state(nlp)
    train(nlp, examples, optimizer, 4)
    assert moved(nlp, before) == expected
    now, shim = state(nlp), shim_of(nlp)
    for name, weight in shim.weights.items():
        assert weight.parameter.raw_gradient is None
        assert (now[name] != before[name]).any() == (name in shim.policy.moving(shim.steps))
    assert shim.steps == 4


@pytest.mark.parametrize("make", sorted(OPTIMIZERS))
@pytest.mark.parametrize("kind", ["bilstm", "pipeline"])
def test_thawing_and_freezing_again(build, kind, make):
    nlp, examples = build(kind, head_first=2, unfreeze={"0": 1, "2": 3, "4": 1})
    optimizer, seen = OPTIMIZERS[make](), []
    for _ in range(8):
        before = state(nlp)
        train(nlp, examples, optimizer, 1)
        seen.append(moved(nlp, before))
    assert seen == [[], [], [2], [2], [0, 1, 2], [0, 1, 2], [2], [2]]


@pytest.mark.parametrize("kind", ["cnn", "pipeline"])
def test_one_layer_more_every_n_steps(build, kind):
    nlp, examples = build(kind, unfreeze=1)
    optimizer, seen = adamw_v1(learn_rate=0.01), []
    for _ in range(5):
        before = state(nlp)
        train(nlp, examples, optimizer, 1)
        seen.append(moved(nlp, before))
    top = max(depth_of(name) for name in state(nlp))
    # The head's weights begin at zero: in the first step no gradient comes down.
    assert seen[1:] == [list(range(max(top - i, 0), top + 1)) for i in range(1, 5)]


@pytest.mark.parametrize("kind", ["cnn", "pipeline"])
def test_head_first_computes_each_text_once_and_forgets_the_rows(build, kind, monkeypatch):
    nlp, examples = build(kind, head_first=3)
    backbone, optimizer, calls = nlp.get_pipe("transfer_backbone"), adamw_v1(learn_rate=0.05), []
    shim = shim_of(nlp)
    run = shim.run
    monkeypatch.setattr(
        shim, "run", lambda model, docs, is_train: calls.append(len(docs)) or run(model, docs, is_train)
    )
    train(nlp, examples, optimizer, 3)
    assert calls == [4]
    train(nlp, examples, optimizer, 2)
    found = backbone.predict([nlp.make_doc(TEXTS[0])]).rows[0]
    fresh = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())(TEXTS[0]).tensor
    numpy.testing.assert_allclose(found, fresh, atol=1e-6)


def test_below_the_boundary_nothing_is_kept_and_dropout_is_off(build):
    nlp, examples = build("pipeline", freeze=1)
    nlp.update(examples, sgd=False, drop=0.5)
    encoder = shim_of(nlp).encoder
    embed, encode = encoder.layers
    assert {n.attrs["dropout_rate"] for n in embed.walk() if "dropout_rate" in n.attrs} == {0.0}
    first, second = encode.layers[0].layers
    assert {n.attrs["dropout_rate"] for n in first.walk() if "dropout_rate" in n.attrs} == {0.0}
    assert {n.attrs["dropout_rate"] for n in second.walk() if "dropout_rate" in n.attrs} == {0.5}
    nlp.get_pipe("transfer_backbone").finish_update(Adam(0.1))
    assert not any(node.has_grad(name) for node in embed.walk() for name in node.param_names)


@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0)])
@pytest.mark.parametrize("kind", ["bilstm", "pipeline", "hash"])
def test_layer_decay_scales_the_step(build, kind, make):
    """Plain gradient descent: ratios of steps are ratios of rates."""
    changes = {}
    for decay in (None, 0.5):
        nlp, examples = build(kind, layer_decay=decay)
        train(nlp, examples, SGD(0.1, L2=0.0, grad_clip=0.0), 1)  # The head's weights begin at zero.
        before = state(nlp)
        optimizer = make()
        optimizer.L2 = optimizer.grad_clip = 0.0
        train(nlp, examples, optimizer, 1)
        now = state(nlp)
        changes[decay] = {name: now[name] - before[name] for name in now}
    top = max(depth_of(name) for name in changes[None])
    for name, change in changes[None].items():
        assert numpy.abs(change).max() > 0
        scaled = 0.5 ** (top - depth_of(name)) * change
        numpy.testing.assert_allclose(changes[0.5][name], scaled, rtol=1e-2, atol=1e-6)


def test_radam_cannot_scale(build):
    nlp, examples = build("pipeline", layer_decay=0.5)
    before = state(nlp)
    with pytest.raises(ValueError, match="T618"):
        train(nlp, examples, RAdam(0.01), 2)
    assert moved(nlp, before) == []


@pytest.mark.parametrize("kind", ["cnn", "pipeline"])
def test_the_step_has_the_pull_in_it(build, kind):
    """One more step with and without anchor: they differ by rate * strength * docs * distance. The loaded pipeline
    reads its source again."""
    nlp, examples = build(kind, anchor=0.05)
    origin = state(nlp)
    train(nlp, examples, sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0), 3)
    data, before, found = nlp.to_bytes(), state(nlp), {}
    pulled = ["embeddings.E"] if kind == "cnn" else sorted(origin)
    for name in ("pulled", "read again", "free"):
        one = nlp if name == "pulled" else spacy.blank("en").from_config(nlp.config).from_bytes(data)
        shim = shim_of(one)
        assert sorted(shim._strengths) == pulled
        if name == "free":
            shim._strengths = {}
        train(one, examples, sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0), 1)
        found[name] = state(one)
    for name in origin:
        assert (found["pulled"][name] == found["read again"][name]).all()
        distance = before[name] - origin[name] if name in pulled else 0.0
        expected = found["free"][name] - 0.1 * 0.05 * len(examples) * distance
        numpy.testing.assert_allclose(found["pulled"][name], expected, rtol=1e-4, atol=1e-6)
    assert any((found["pulled"][name] != found["free"][name]).any() for name in pulled)


@pytest.mark.parametrize("kind", ["cnn", "pipeline", "hash"])
def test_the_average_with_the_pretrained_weights(build, kind):
    """What was not pretrained stays; all of it, where there is no source."""
    nlp, examples = build(kind)
    origin = state(nlp)
    train(nlp, examples, Adam(0.01), 2)
    tuned = state(nlp)
    shim_of(nlp).average_with_origin(0.25)
    averaged = {"cnn": {"embeddings.E"}, "pipeline": set(origin), "hash": set()}[kind]
    for name, found in state(nlp).items():
        expected = 0.75 * origin[name] + 0.25 * tuned[name] if name in averaged else tuned[name]
        numpy.testing.assert_allclose(found, expected, atol=1e-6)
    assert any((origin[name] != tuned[name]).any() for name in averaged or origin)


@pytest.mark.parametrize("kind", ["vectors", "pipeline"])
def test_an_anchor_whose_source_is_gone_or_changed(build, kind, tmp_path):
    nlp, examples = build(kind, anchor=0.05)
    backbone = nlp.get_pipe("transfer_backbone")
    for attr, value in (("source", str(tmp_path / "gone")), ("fingerprint", "another")):
        twin = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
        twin.get_pipe("transfer_backbone").model.attrs[attr] = value
        with pytest.raises(ValueError, match=r"T651.*source"):
            twin.update(examples, sgd=False)
    assert backbone.model.attrs["fingerprint"] != "another"


@pytest.mark.parametrize("kind", ["bilstm", "pipeline"])
def test_settings_and_steps_survive(build, kind, tmp_path):
    nlp, examples = build(kind, head_first=3, freeze=[r"^layer\.0\."])
    train(nlp, examples, Adam(0.01), 3)
    nlp.to_disk(tmp_path)
    for again in (spacy.load(tmp_path), nlp.from_bytes(nlp.to_bytes())):
        shim = shim_of(again)
        assert shim.steps == 3 and not shim.is_frozen
        before = state(again)
        train(again, examples, Adam(0.01), 2)
        assert moved(again, before) == [0, 2]
    assert nlp.get_pipe("transfer_backbone").model.copy().shims[0].steps == 5


@pytest.mark.parametrize("kind", ["still cnn", "pipeline", "hash"])
def test_it_moves_into_a_head_with_replace_listeners(build, kind):
    nlp, examples = build(kind, freeze=1, head_first=1)
    train(nlp, examples, Adam(0.01), 1)
    top = max(depth_of(name) for name in state(nlp))
    nlp.replace_listeners("transfer_backbone", "tagger", ["model.tok2vec"])
    nlp.remove_pipe("transfer_backbone")
    assert shim_of(nlp, "tagger").steps == 1
    before = state(nlp, "tagger")
    train(nlp, examples, Adam(0.01), 3)
    assert moved(nlp, before, "tagger") == list(range(2, top + 1))
    assert shim_of(nlp, "tagger").steps == 4


@pytest.mark.parametrize(
    ("kind", "tuning", "more", "code"),
    [
        ("cnn", {"adapter": {"method": "lora"}}, {}, "T655.*adapter.*VectorsBackbone.*layer_decay"),
        ("pipeline", {"adapter": {"method": "bias"}}, {}, "T655.*adapter.*PipelineBackbone"),
        ("pipeline", {"checkpointing": True}, {}, "T655.*checkpointing"),
        ("still cnn", {"freeze": "embeddings"}, {}, "T656.*embeddings"),
        ("still cnn", {"freeze": 0}, {}, "T656"),
        ("still cnn", {"freeze": ["embeddings"]}, {}, "T656"),
        ("cnn", {"freeze": "embeddings"}, {}, "T657.*embeddings"),
        ("cnn", {"freeze": "all"}, {}, "T657"),
        ("cnn", {"freeze": 1}, {}, "T657"),
        ("cnn", {"freeze": ["E$"]}, {}, "T657"),
        ("vectors", {"head_first": 2}, {"finetune": False, "width": None}, "T658"),
        ("still cnn", {"anchor": 0.1}, {}, "T660.*finetune"),
        ("cnn", {"anchor": {"layer": 0.1}}, {}, r"T650.*embeddings\.E"),
        ("hash", {"adapter": {"method": "lora"}}, {}, "T655.*adapter.*HashEmbedBackbone"),
        ("hash", {"anchor": 0.1}, {}, "T223.*anchor = 0.1"),
        ("hash", {"freeze": ["nothing"]}, {}, "T617"),
        ("pipeline", {"freeze": 3}, {}, "T614"),
        ("pipeline", {"freeze": ["nothing"]}, {}, "T617"),
        ("cnn", {"freeze": ["("]}, {}, "T616"),
        ("pipeline", {"unfreeze": {"0": 1}}, {}, "T615"),
    ],
)
def test_contradictions(build, kind, tuning, more, code):
    with pytest.raises(ValueError, match=code):
        build(kind, more=more, **tuning)


@pytest.mark.parametrize("kind", ["cnn", "pipeline"])
def test_frozen_and_tuned_at_once(build, kind):
    with pytest.raises(ValueError, match=r"T619.*transfer_backbone"):
        build(kind, frozen=True, head_first=1)


def test_a_backbone_inside_a_pipeline(build, tmp_path, nlp):
    """Word vectors with a CNN that were pretrained come as a pipeline, and are tuned like any other encoder."""
    build("still cnn")[0].to_disk(tmp_path)
    model = build_pipeline_backbone_v1(source=str(tmp_path), tuning=Tuning(freeze=["linear"]))
    model.initialize()
    before = {name: weight.parameter.value_copy() for name, weight in model.shims[0].weights.items()}
    rows, back = model.begin_update([nlp.make_doc("the cat sees a dog")])
    back([row * 0 + 1 for row in rows])
    model.finish_update(Adam(0.01))
    after = {name: weight.parameter.value for name, weight in model.shims[0].weights.items()}
    moved = {name for name in before if not numpy.array_equal(before[name], after[name])}
    still = {name for name in before if "linear" in name or name.endswith(".E")}
    assert still and moved and not moved & still and any("maxout" in name for name in moved)


def test_an_encoder_in_torch_inside_a_pipeline_is_tuned_where_it_is(tiny_bert, tmp_path):
    make_pipeline(tiny_bert)[0].to_disk(tmp_path)
    with pytest.raises(ValueError, match=r"T659.*transfer_transformer"):
        build_pipeline_backbone_v1(source=str(tmp_path), tuning=Tuning(head_first=1)).initialize()


def test_an_adapter_is_not_to_be_had(build, tmp_path):
    with pytest.raises(ValueError, match="T648"):
        build("pipeline")[0].get_pipe("transfer_backbone").save_adapter(tmp_path)


def test_the_table_shows_layers(build):
    nlp, _ = build("still cnn", freeze=1, unfreeze=5)
    optimizer = adamw_v1(learn_rate=0.01)
    register_names(optimizer, nlp.pipeline)
    rows = [row for row in overview(nlp.pipeline, optimizer) if row.component == "transfer_backbone"]
    assert [(row.depths, row.trainable) for row in rows] == [((0, 1), "no"), ((2, 3), "later"), ((4,), "yes")]
    assert {row.n_layers for row in rows} == {4}
    names = {parameter.name for parameter in parameters_of("transfer_backbone", nlp.get_pipe("transfer_backbone"))}
    assert {"transfer_backbone.embeddings.E", "transfer_backbone.layer.3.maxout.W"} < names


@pytest.mark.parametrize("kind", ["bilstm", "pipeline"])
def test_groups_find_the_names(build, kind):
    nlp, examples = build(kind)
    before = state(nlp)
    groups = {"still": {"pattern": r"transfer_backbone\.layer\.1\.", "learn_rate": 0.0, "weight_decay": 0.0}}
    train(nlp, examples, adamw_v1(learn_rate=0.01, groups=groups), 3)
    assert moved(nlp, before) == [0, 1]
