"""Which task helps which: the matrix against steps made by hand, the training that goes on untouched, the command.

Guards also: continual/task_affinity.py.
"""

import json
import re
import sys

import numpy
import pytest
import spacy
from spacy.cli import app
from spacy.training.initialize import init_nlp
from spacy.util import load_config, registry
from typer.testing import CliRunner

import spacy_transfer.cli.affinity as affinity
from spacy_transfer.continual.task_affinity import Lookahead
from spacy_transfer.corpora.example_info import note_origin

from ..pipeline.backbone.test_component_other_backbones import sources  # noqa: F401
from ..pipeline.backbone.test_tasks import TASKS, build, each_alone  # noqa: F401
from ..pipeline.test_parameter_table import snapshot
from ..pipelines import backbone_config
from ..training import write_training


def losses_of(nlp, examples):
    losses = {}
    nlp.update(examples, sgd=False, losses=losses)
    return losses


@pytest.mark.parametrize("kind", ["bert", "cnn", "pipeline"])
def test_the_matrix_is_that_of_steps_made_by_hand(build, kind):  # noqa: F811
    """In pipelines of their own: each task's gradient alone, a step with it, and everybody's loss before and after."""
    length = 1e-3
    alone = each_alone(build, kind)
    nlp, examples = build(kind)
    before = losses_of(nlp, examples)
    expected = numpy.zeros((len(TASKS), len(TASKS)))
    for i, gradient in enumerate(alone):
        nlp, examples = build(kind)
        shift(nlp.get_pipe("transfer_backbone"), gradient, length)
        after = losses_of(nlp, examples)
        expected[i] = [1 - after[task] / before[task] for task in TASKS]
    nlp, examples = build(kind)
    lookahead = Lookahead(nlp, nlp.get_pipe("transfer_backbone"), TASKS, length)
    lookahead.measure(examples)
    numpy.testing.assert_allclose(lookahead.means(), expected, atol=5e-6)
    assert (numpy.diagonal(expected) > 1e-4).all()
    assert (expected < -1e-4).any(), "some do harm"
    unit = alone / numpy.linalg.norm(alone, axis=1, keepdims=True)
    numpy.testing.assert_allclose(lookahead.mean_cosines(), unit @ unit.T, atol=1e-5)


def shift(pipe, gradient, length):
    from spacy_transfer.pipeline.parameters import parameters_of

    parameters, begin = parameters_of(pipe.name, pipe), 0
    gets = [p for p in parameters if gradient[begin : (begin := begin + p.parameter.size)].any()]

    def tensor(p):
        return numpy.asarray(p.parameter.value)

    norm = numpy.sqrt(sum((tensor(p).astype("d") ** 2).sum() for p in gets))
    begin = 0
    for p in parameters:
        part = gradient[begin : (begin := begin + p.parameter.size)].reshape(tensor(p).shape)
        tensor(p)[...] -= length * norm / numpy.linalg.norm(gradient) * part


def test_tasks_that_share_no_batch(build):  # noqa: F811
    """Each is looked at on its own last batch, with the weights of now."""
    nlp, examples = build(heads=["transfer_textcat", "transfer_tagger"])
    halves = {"transfer_textcat": examples[:2], "transfer_tagger": examples[2:]}
    for task, batch in halves.items():
        for example in batch:
            note_origin(example.reference, task, [task])
    lookahead = Lookahead(nlp, nlp.get_pipe("transfer_backbone"), list(halves), 1e-3)
    for batch in halves.values():
        lookahead.measure(batch)
    # The tagger was not known when the first batch came.
    assert lookahead.counts().tolist() == [[1, 0], [1, 1]]
    assert numpy.isfinite(lookahead.means()[1]).all() and numpy.isnan(lookahead.means()[0, 1])
    cosines = lookahead.mean_cosines()
    assert numpy.isnan(cosines[0, 1]) and cosines[0, 0] == pytest.approx(1.0)


def test_nothing_of_the_training_changes(tiny_bert, tmp_path, monkeypatch):
    """Weights after it are those of the same training without a look ahead: dropout, shuffling, the anchor's count of
    texts and all."""
    overrides = {
        "training.dropout": 0.2,
        "training.batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 2},
        "training.accumulate_gradient": 2,
        "components.transfer_backbone.model.tuning": {"@misc": "spacy-transfer.Tuning.v1", "anchor": 0.1},
    }
    config, trained = load_config(write_training(tmp_path, tiny_bert, overrides=overrides)), []
    for measures in (True, False):
        nlp = init_nlp(config)
        spacy.util.fix_random_seed(0)
        if measures:
            affinity.run(nlp, steps=5)
        else:
            monkeypatch.setattr(affinity, "_measured", lambda batches, *_: iter(batches))
            with pytest.raises(ValueError, match="T773"):
                affinity.run(nlp, steps=5)
        trained.append(snapshot(nlp))
    assert all((trained[0][name] == trained[1][name]).all() for name in trained[0])


def test_an_anchor_is_no_task(tiny_bert, tmp_path):
    """With Anchor.v1, one or two of them, it measures, and at strength 0 what it does without."""
    anchor, found = {"@callbacks": "spacy-transfer.Anchor.v1", "importance": "equal", "strength": 0.0}, []
    for before_update in (None, anchor, {**anchor, "then": anchor}):
        (folder := tmp_path / str(len(found))).mkdir()
        path = write_training(folder, tiny_bert, overrides={"training.before_update": before_update})
        nlp = init_nlp(load_config(path))
        spacy.util.fix_random_seed(0)
        found.append(affinity.run(nlp, steps=4))
        assert nlp.pipe_names == ["transfer_backbone", "tagger", "textcat"] and "update" not in vars(nlp)
    assert found[0] == found[1] == found[2]


# The command


def invoke(*arguments):
    result = CliRunner().invoke(app, ["transfer", "affinity", *map(str, arguments)])
    return result.exit_code, re.sub(r"\x1b\[\d*m|\s+", " ", result.output)


def test_command_prints_and_writes(tiny_bert, tmp_path):
    config = write_training(tmp_path, tiny_bert)
    code, out = invoke(config, "--steps", 6, "--every", 2, "--output", tmp_path / "deep" / "found")
    assert code == 0, out
    found = json.loads((tmp_path / "deep" / "found" / "affinity.json").read_text())
    assert found["tasks"] == ["tagger", "textcat"] and found["steps"] == 6
    # Stock output layers begin at zero: the first look ahead finds no gradient.
    assert found["counts"] == [[2, 2], [2, 2]]
    assert found["affinity"][0][0] > 0 and found["affinity"][1][1] > 0
    for row in found["affinity"]:
        for value in row:
            assert f"{100 * value:+.3f}" in out
    assert (tmp_path / "deep" / "found" / "affinity.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_wrong_is_said_before_the_work(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(affinity, "initialise", lambda *_, **__: pytest.fail("worked"))
    config = write_training(tmp_path, tiny_bert)
    for arguments, expected in (
        (("--steps", 1), "T770"),
        (("--length", 0), "T770"),
        (("--output", config), "T772"),
    ):
        code, out = invoke(config, *arguments)
        assert code == 2 and expected in out, out
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out = invoke(config, "--output", tmp_path / "found")
    assert code == 1 and "T771" in out and "pip install" in out


@pytest.mark.parametrize(
    ("expected", "arguments", "overrides"),
    [
        ("T775", (), {"training.frozen_components": ["tagger"]}),
        ("T775", (), {"components.transfer_backbone.frozen": True}),
        ("T774 .*transfer_backbone", ("--component", "transfer_bone"), {}),
        (
            "T773",
            (),
            {"components.transfer_backbone.model.tuning": {"@misc": "spacy-transfer.Tuning.v1", "head_first": 99}},
        ),
    ],
)
def test_nothing_to_measure(tiny_bert, tmp_path, expected, arguments, overrides):
    config = write_training(tmp_path, tiny_bert, overrides=overrides)
    code, out = invoke(config, "--output", "-", "--steps", 3, *arguments)
    assert code == 1 and re.search(expected.replace(" ", ""), out.replace("]", "")), out


def test_several_backbones(tiny_bert, nlp):
    for name in ("first", "second"):
        nlp.add_pipe("transfer_backbone", name, config=backbone_config(tiny_bert))
        for task in ("textcat", "tagger"):
            listener = {"@architectures": "spacy-transfer.Listener.v1", "upstream": name}
            model = nlp.get_factory_meta(f"transfer_{task}").default_config["model"]
            nlp.add_pipe(f"transfer_{task}", f"{name}_{task}", config={"model": {**model, "tok2vec": listener}})
    nlp._link_components()
    with pytest.raises(ValueError, match="T776.*--component"):
        affinity.choose(nlp, [], None)
    assert affinity.choose(nlp, [], "second") == ("second", ["second_textcat", "second_tagger"])
    assert affinity.choose(nlp, ["first_tagger"], None)[0] == "second"


def test_a_step_that_is_too_long_is_told(capsys):
    found = {"backbone": "b", "tasks": ["x", "y"], "length": 0.5, "affinity": [[-0.1, None], [0.1, 0.2]]}
    affinity.report({**found, "errors": [[None, None], [0.01, 0.02]]})
    out, err = capsys.readouterr()
    assert "W661" in err and "A step on x alone" in err and "+10.000 ± 1.000" in out


def test_it_is_there_without_an_import():
    assert "affinity" in str(registry.cli.get_all())
