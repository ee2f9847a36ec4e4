"""Names of parameters, groups by name through a real config and `spacy train`, the table and what is logged.

Guards also: parameters.py.
"""

import copy
import logging
import pickle
import re

import numpy
import pytest
import spacy
from spacy.cli.train import train
from thinc.api import Adam, Config

from spacy_transfer.pipeline.backbone.console_logger import _lines
from spacy_transfer.pipeline.parameter_table import change_points, overview
from spacy_transfer.pipeline.parameters import parameters_of
from spacy_transfer.tuning.optimizers import adamw_v1, sgd_v1
from spacy_transfer.tuning.policy import Policy, build_tuning_v1
from spacy_transfer.tuning.schedules import linear_v1

from ..pipelines import HEADS, backbone_config, make_examples, make_pipeline, step
from ..training import write_training

TUNING = {"@misc": "spacy-transfer.Tuning.v1"}


def pipeline(source, heads=("tagger",), **tuning):
    model = {**backbone_config(source)["model"], "tuning": {**TUNING, **tuning}}
    return make_pipeline(source, heads, model=model)


def snapshot(nlp):
    """All numbers by full name."""
    found = {}
    for name, pipe in nlp.pipeline:
        for p in parameters_of(name, pipe):
            if p.is_torch:
                array = dict(p.parameter.owner.encoder.named_parameters())[p.parameter.own_name].detach().numpy()
            else:
                array = p.parameter.owner.get_param(p.parameter.own_name)
            found[p.name] = array.copy()
    return found


def changes(before, after):
    return {name: float(numpy.abs(after[name] - before[name]).max()) for name in before}


def run(nlp, examples, optimizer, n_steps, **kwargs):
    for _ in range(n_steps):
        step(nlp, examples, optimizer, **kwargs)
        optimizer.step_schedules()


def test_names_are_paths_and_no_two_are_one(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, tuple(HEADS))
    found = [p.name for name, pipe in nlp.pipeline for p in parameters_of(name, pipe)]
    assert len(set(found)) == len(found)
    assert {
        "tagger.model.softmax.W",
        "transfer_backbone.transformer.encoder.layer.0.attention.self.query.weight",
        "ner.model.linear.0.W",
        "ner.model.linear.1.W",
        "spancat.model.layernorm.G",
    } <= set(found)
    encoder = nlp.get_pipe("transfer_backbone").model.shims[0].encoder
    sizes = [p.parameter.size for p in parameters_of("transfer_backbone", nlp.get_pipe("transfer_backbone"))]
    assert sum(sizes) == sum(p.numel() for p in encoder.parameters())


def test_names_of_a_backbone_inside_a_head(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, frozen=True)
    nlp.replace_listeners("transfer_backbone", "tagger", ["model.tok2vec"])
    found = {p.name: p for p in parameters_of("tagger", nlp.get_pipe("tagger"))}
    inner = found["tagger.model.transfer_own_backbone.transfer_transformer.transformer.embeddings.LayerNorm.bias"]
    assert inner.is_frozen and not found["tagger.model.softmax.b"].is_frozen


def test_rates_by_name(tiny_bert):
    """Plain gradient descent, so that a step is the gradient times the rate: same gradients, other rates."""
    groups = {
        "still": {"pattern": r"^transfer_backbone\..*embeddings", "learn_rate": 0.0},
        "heads": {"pattern": r"^(tagger|ner)\.", "learn_rate": 1.0},
    }
    moved = {}
    for label, given in (("plain", None), ("groups", groups)):
        nlp, examples, warm = make_pipeline(tiny_bert, ("tagger", "ner", "textcat"))
        step(nlp, examples, warm)  # heads begin at zero and send no gradient
        before = snapshot(nlp)
        run(nlp, examples, sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0, groups=given), 1)
        moved[label] = {name: after - before[name] for name, after in snapshot(nlp).items()}
    for name, plain in moved["plain"].items():
        factor = 0.0 if "embeddings" in name else 10.0 if name.startswith(("tagger.", "ner.")) else 1.0
        numpy.testing.assert_allclose(moved["groups"][name], factor * plain, rtol=1e-3, atol=2e-6, err_msg=name)
    assert max(
        changes(*[{n: m[n] for n in m if "embeddings" in n} for m in (moved["plain"], moved["groups"])]).values()
    )


@pytest.mark.parametrize("settings", [{"frozen": True}, {"head_first": 3}])
def test_names_are_taught_where_the_backbone_is_still(tiny_bert, settings):
    make = make_pipeline if "frozen" in settings else pipeline
    nlp, examples, _ = make(tiny_bert, **settings)
    optimizer = sgd_v1(
        learn_rate=1.0,
        groups={
            "head": {"pattern": r"^tagger\.model\.softmax\.W$", "learn_rate": 0.0},
            "waits": {"pattern": r"^transfer_backbone\.", "learn_rate": 0.0},
        },
    )
    before = snapshot(nlp)
    run(nlp, examples, optimizer, 2)
    moved = {name for name, change in changes(before, snapshot(nlp)).items() if change}
    assert moved == {"tagger.model.softmax.b"}


def test_a_name_misspelt(tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert)
    optimizer = adamw_v1(groups={"heads": {"pattern": r"^taggr\.model", "learn_rate": 1.0}})
    with pytest.raises(ValueError, match=r"T602.*groups\.heads.*tagger\.model\.softmax"):
        run(nlp, examples, optimizer, 1)


def test_names_are_taught_once_an_optimizer_and_anew_to_another(tiny_bert, monkeypatch):
    nlp, examples, _ = make_pipeline(tiny_bert)
    taught = []
    for _ in range(2):
        optimizer = adamw_v1()
        monkeypatch.setattr(optimizer, "learn_names", lambda **names: taught.append(names))
        run(nlp, examples, optimizer, 3)
    assert len(taught) == 2
    assert set(taught[0]["nodes"].values()) == {"tagger.model.softmax"}
    assert set(taught[0]["shims"].values()) == {"transfer_backbone"}


def test_components_that_are_gone_are_forgotten(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, ("tagger", "ner"))
    backbone = nlp.get_pipe("transfer_backbone")
    assert [name for name, _ in backbone.training_log._pipes(backbone)] == ["transfer_backbone", "tagger", "ner"]
    nlp.remove_pipe("ner")
    nlp.rename_pipe("tagger", "tags")
    assert [name for name, _ in backbone.training_log._pipes(backbone)] == ["transfer_backbone", "tags"]
    nlp.remove_pipe("tags")
    assert [name for name, _ in backbone.training_log._pipes(backbone)] == ["transfer_backbone"]


def test_a_backbone_that_has_met_an_optimizer_is_still_copied_and_pickled(tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert)
    run(nlp, examples, adamw_v1(learn_rate=linear_v1(learn_rate=0.1, total_steps=9)), 2)
    backbone = nlp.get_pipe("transfer_backbone")
    assert backbone.training_log.rates
    assert pickle.loads(pickle.dumps(backbone.training_log)).rates == {}
    twin, doc = copy.deepcopy(backbone), nlp.make_doc("the cat")
    assert twin.training_log.rates == {}
    assert (twin.predict([doc]).rows[0] == backbone.predict([doc]).rows[0]).all()


# `spacy train`

GROUPS = """
[training.optimizer]
@optimizers = "spacy-transfer.SGD.v1"
learn_rate = 0.1
weight_decay = 0.5
no_decay = "bias\\\\Z|^textcat"
[training.optimizer.groups]
[training.optimizer.groups.still]
pattern = "^transfer_backbone\\\\..*embeddings"
learn_rate = 0.0
[training.optimizer.groups.tags]
pattern = "^tagger\\\\.model"
weight_decay = 0.0
[training.optimizer.groups.tags.learn_rate]
@schedules = "spacy-transfer.Linear.v1"
learn_rate = 0.5
total_steps = 10
"""


@pytest.fixture
def config(tiny_bert, tmp_path):
    """A file with a config that has groups, and the data it reads."""
    return write_training(tmp_path, tiny_bert, optimizer=GROUPS)


def test_groups_in_spacy_train(config, tmp_path, capsys):
    train(config, tmp_path / "out")
    trained = spacy.load(tmp_path / "out" / "model-last")
    first = spacy.util.load_model_from_config(Config().from_disk(config, interpolate=False), auto_fill=True)
    first.initialize(lambda: make_examples(first))
    moved = changes(snapshot(first), snapshot(trained))
    embeddings = {name for name in moved if name.startswith("transfer_backbone.") and "embeddings" in name}
    assert embeddings and not any(moved[name] for name in embeddings)
    assert moved["transfer_backbone.transformer.encoder.layer.0.output.dense.weight"]
    assert moved["tagger.model.softmax.W"]
    out = capsys.readouterr().out
    assert re.search(r"tagger: tags +- .*yes +0\.5 +0 +linear, highest 0\.5", out)
    assert re.search(r"textcat +-.* yes +0\.1 +0 +constant", out)
    assert re.search(r"transfer_backbone +1-2, top .* yes +0\.1 +0\.5 or 0 +constant", out)
    # The rate of the step that was made before each evaluation, at steps 0, 2 and 4.
    assert re.search("SCORE +RATE +RATE STILL +RATE TAGS", out)
    assert re.findall(r" 0\.1 +0 +(\S+)\n", out) == ["0.5", "0.4", "0.3"]


def test_frozen_heads_do_not_count_as_trainable(config, tmp_path, capsys):
    first = spacy.util.load_model_from_config(Config().from_disk(config, interpolate=False), auto_fill=True)
    first.initialize(lambda: make_examples(first))
    first.to_disk(tmp_path / "first")
    changed = Config().from_disk(config, interpolate=False)
    changed["components"]["tagger"] = {"source": str(tmp_path / "first")}
    changed["training"]["frozen_components"] = ["tagger"]
    del changed["training"]["optimizer"]["groups"]["tags"]
    changed.to_disk(config)
    train(config, tmp_path / "out")
    assert re.search(r"tagger +- +\d+ +no +- +- +-", capsys.readouterr().out)


# The table


def test_layers_by_rate_and_fate(tiny_bert):
    nlp, _, _ = pipeline(tiny_bert, freeze="embeddings", layer_decay=0.5, unfreeze=5)
    rows = overview(nlp.pipeline, Adam(0.1, L2=0.2))
    assert [(row.component, row.depths, row.trainable, row.rate, row.decays) for row in rows] == [
        ("transfer_backbone", (0,), "no", 0.0, (0.2,)),
        ("transfer_backbone", (1,), "later", 0.05, (0.2,)),
        ("transfer_backbone", (2, 3), "yes", 0.1, (0.2,)),
        ("tagger", (), "yes", 0.1, (0.2,)),
    ]
    total = sum(p.parameter.size for name, pipe in nlp.pipeline for p in parameters_of(name, pipe))
    assert sum(row.count for row in rows) == total


def test_a_frozen_component_is_one_row(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, frozen=True)
    first, second = overview(nlp.pipeline, adamw_v1(), excluded=["tagger"])
    assert first.trainable == second.trainable == "no" and first.depths == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"head_first": 3},
        {"unfreeze": 2},
        {"unfreeze": 2, "head_first": 3},
        {"unfreeze": {"1": 1, "4": 4, "6": 1}, "head_first": 2},
        {"unfreeze": {"0": 2, "4": 4}, "freeze": 1},
    ],
)
def test_change_points_are_all_the_points_at_which_it_changes(settings):
    names = ["embeddings.w", *(f"encoder.layer.{i}.w" for i in range(3)), "pooler.w"]
    policy = Policy(build_tuning_v1(**settings), names)
    changed = {step for step in range(1, 40) if policy.moving(step) != policy.moving(step - 1)}
    assert changed <= set(change_points(policy))


# The log


def logged(caplog, pattern):
    return [record.getMessage() for record in caplog.records if re.search(pattern, record.getMessage())]


@pytest.mark.parametrize("make", [lambda: Adam(0.01), lambda: adamw_v1(learn_rate=0.01)])
def test_the_table_is_logged_once_an_optimizer(tiny_bert, caplog, make):
    caplog.set_level(logging.INFO, logger="spacy")
    nlp, examples, _ = make_pipeline(tiny_bert, ("tagger", "ner"))
    for n_tables in (1, 2):
        run(nlp, examples, make(), 4, exclude=["ner"])
        tables = logged(caplog, "Parameter groups")
        assert len(tables) == n_tables
        assert re.search(r"tagger .* yes +0\.01", tables[-1])
        assert re.search(r"ner .* no +-", tables[-1])


def test_thawing_is_logged(tiny_bert, caplog):
    caplog.set_level(logging.INFO, logger="spacy")
    nlp, examples, optimizer = pipeline(tiny_bert, head_first=2, unfreeze={"0": 1, "2": 3, "4": 0})
    run(nlp, examples, optimizer, 8)
    lines = [re.sub(r" \(.*", "", line) for line in logged(caplog, "^Step")]
    assert lines == [
        "Step 2: transfer_backbone: layers 2, top of 2 move",
        "Step 4: transfer_backbone: layers 0-2, top of 2 move",
        "Step 6: transfer_backbone: no layer moves",
    ]


def test_the_console_says_once_which_layers_move(tiny_bert):
    nlp, examples, optimizer = pipeline(tiny_bert, freeze=1, unfreeze={"0": 1, "4": 0})
    moving, said = [], []
    for n_steps in (2, 1, 2, 1):
        run(nlp, examples, optimizer, n_steps)
        said.append(_lines(nlp, moving))
    layers = [[line for line in lines if "move" in line] for lines in said]
    assert len(layers[0]) == 1 and layers[1] == [] and len(layers[2]) == 1 and layers[3] == []
