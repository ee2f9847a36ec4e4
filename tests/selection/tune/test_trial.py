"""A trial is a stock training: the same scores, pipelines and failures as those of `spacy train`."""

import io
import json

import pytest
import spacy
from spacy.training import Corpus
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, registry

import spacy_transfer.selection.tune.trial as module
from spacy_transfer.selection.tune.trial import train_trial

from ...training import write_training

FROZEN = {"components.transfer_backbone.frozen": True, "training.score_weights": {"cats_score": 0.5, "tag_acc": 0.5}}


def config_of(folder, source, **overrides):
    return load_config(write_training(folder, source, overrides={**FROZEN, **overrides}), interpolate=False)


def history(config, **settings):
    found = []
    train_trial(config, lambda evaluation: found.append((evaluation.step, evaluation.score)), **settings)
    return found


@pytest.fixture
def stock():
    """RETURNS (Callable): What spaCy's own `train` says at each evaluation."""

    def run(config, output=None):
        rows = []

        @registry.loggers("test.Rows.v1")
        def make():
            return lambda nlp, stdout, stderr: (
                lambda info: rows.append((info["step"], info["score"])) if info is not None else None,
                lambda: None,
            )

        config = config.copy()
        config["training"]["logger"] = {"@loggers": "test.Rows.v1"}
        train(init_nlp(config), output, stdout=io.StringIO(), stderr=io.StringIO())
        return rows

    return run


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"components.transfer_backbone.frozen": False, "training.dropout": 0.3, "training.optimizer.learn_rate": 0.01},
        {"training.patience": 2, "training.max_steps": 20},
        {"training.max_epochs": 3, "training.max_steps": 0, "training.accumulate_gradient": 2},
    ],
    ids=["frozen", "fine-tuned", "patience", "epochs"],
)
def test_it_is_spacys_training(tiny_bert, tmp_path, stock, overrides):
    config = config_of(tmp_path, tiny_bert, **overrides)
    found = history(config)
    assert found == stock(config) and len(found) >= 2


def test_averages_are_evaluated_and_saved(tiny_bert, tmp_path, stock):
    """What is saved is the pipeline that was scored, before_to_disk included."""
    optimizer = {"@optimizers": "Adam.v1", "learn_rate": 0.05, "use_averages": True}
    leave_out = {"@callbacks": "spacy-transfer.LeaveOut.v1", "components": ["tagger"]}
    config = config_of(tmp_path, tiny_bert, **{"training.optimizer": optimizer, "training.before_to_disk": leave_out})
    (tmp_path / "out").mkdir()
    stock(config, tmp_path / "out")
    train_trial(config, lambda evaluation: evaluation.save(tmp_path / "own", {"transfer_tune": 7}))
    meta = json.loads((tmp_path / "own" / "meta.json").read_text())
    assert meta["transfer_tune"] == 7 and meta["performance"]
    files = {path.relative_to(tmp_path / "own") for path in (tmp_path / "own").rglob("*") if path.is_file()}
    assert files == {
        p.relative_to(tmp_path / "out/model-last") for p in (tmp_path / "out/model-last").rglob("*") if p.is_file()
    }
    for path in files - {next(p for p in files if p.name == "meta.json")}:
        if path.name != "config.cfg":  # It has the logger of the fixture.
            assert (tmp_path / "own" / path).read_bytes() == (tmp_path / "out/model-last" / path).read_bytes(), path
    assert spacy.load(tmp_path / "own").pipe_names == ["transfer_backbone", "textcat"]


def test_what_is_frozen_is_written_once(tiny_bert, tmp_path):
    seen = []

    def evaluated(evaluation):
        evaluation.save(tmp_path / "own", {})
        seen.append(
            [(tmp_path / "own" / name / "model").stat().st_mtime_ns for name in ("transfer_backbone", "textcat")]
        )

    train_trial(config_of(tmp_path, tiny_bert), evaluated)
    backbone, head = (set(times) for times in zip(*seen, strict=True))
    assert len(seen) == 3 and len(backbone) == 1 and len(head) == 3
    assert spacy.load(tmp_path / "own")("a text").cats


def test_the_dev_corpus_is_read_once(tiny_bert, tmp_path, monkeypatch):
    reads, call = [], Corpus.__call__
    monkeypatch.setattr(Corpus, "__call__", lambda self, nlp: reads.append(self) or call(self, nlp))
    found = history(config_of(tmp_path, tiny_bert))
    n_once = len(reads)
    reads.clear()
    monkeypatch.setattr(module, "_read_once", lambda corpus: corpus)
    assert history(config_of(tmp_path, tiny_bert)) == found
    assert len(reads) == n_once + len(found) - 1


def test_a_corpus_that_changes_is_read_each_time():
    def reader(nlp):
        return []

    assert module._read_once(reader) is reader
    for corpus in (Corpus("x.spacy", shuffle=True), Corpus("x.spacy", augmenter=lambda nlp, eg: [eg])):
        assert module._read_once(corpus) is corpus


def test_a_loss_that_is_no_number(tiny_bert, tmp_path):
    optimizer = {"@optimizers": "SGD.v1", "learn_rate": 1e39, "L2": 0.0, "grad_clip": 0.0, "use_averages": False}
    with pytest.raises(ValueError, match="T912|not finite|[Nn]a[Nn]"):
        history(config_of(tmp_path, tiny_bert, **{"training.optimizer": optimizer, "training.max_steps": 40}))


@pytest.mark.parametrize(
    ("info", "what"),
    [({"losses": {"a": float("inf")}}, "loss of 'a' is inf"), ({"score": float("nan")}, "score is nan")],
)
def test_numbers_that_are_none(info, what):
    whole = {"step": 3, "score": 0.5, "losses": {"a": 1.0}, "other_scores": {"cats_score": 0.5}, **info}
    with pytest.raises(ValueError, match=f"T912.*step 3.*{what}"):
        module._check(whole, {"cats_score": 1.0})


def test_nothing_is_measured_that_counts(tiny_bert, tmp_path):
    with pytest.raises(ValueError, match=r"T914.*ents_f.*cats_score"):
        history(
            config_of(
                tmp_path, tiny_bert, **{"training.score_weights": {"ents_f": 1.0, "cats_score": 0.0, "tag_acc": 0.0}}
            )
        )
