"""`python -m spacy transfer tune`: real trainings, what is written and printed, pruning, failures, and the way back to
`spacy train`."""

import builtins
import json
import re

import pytest
import spacy
from spacy.cli import app
from spacy.training import Corpus
from spacy.util import load_config
from typer.testing import CliRunner

import spacy_transfer.selection.tune.search as loop
from spacy_transfer.backbones.transformer import transformer_shim
from spacy_transfer.cli.choosing.tune import _settings

from ...training import write_training

SPACE = """
[training.optimizer.learn_rate]
low = 1e-3
high = 1e-1
log = true
[training.dropout]
choices = [0.0, 0.1, 0.5]
"""
WEIGHTS = {"training.score_weights": {"cats_score": 0.5, "tag_acc": 0.5}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(loop, "free_memory", lambda: None)  # Half a second: the tests have many objects.


@pytest.fixture
def config(tiny_bert, tmp_path):
    return write_training(tmp_path, tiny_bert, overrides={"components.transfer_backbone.frozen": True, **WEIGHTS})


def tune(config, *more, space=SPACE, out="out"):
    path = config.parent / "space.cfg"
    path.write_text(space)
    return CliRunner().invoke(app, ["transfer", "tune", str(config), str(path), "-o", str(config.parent / out), *more])


def lines(result):
    return [line for line in result.output.splitlines() if re.match(r"trial \d+:", line)]


def test_a_search(config):
    result = tune(config, "--trials", "4", "--no-prune", "--training.max_steps", "2")
    assert result.exit_code == 0, result.output
    assert [line.split(":")[0] for line in lines(result)] == [f"trial {i}" for i in range(4)]
    assert "dropout = 0.1, learn_rate = 5e-05" in lines(result)[0]
    assert "optimistic" in result.output
    out = config.parent / "out"
    best = load_config(out / "best.cfg")
    assert best["training"]["max_steps"] == 2
    page = (out / "tune.html").read_text()
    for part in ("optimistic", "History", "Slices", "training.dropout", "4 complete"):
        assert part in page
    # The score that was told is that of the pipeline that was kept.
    number = json.loads((out / "best" / "meta.json").read_text())["transfer_tune"]
    told = {m[1]: float(m[2]) for line in lines(result) if (m := re.match(r"trial (\d+): ([\d.]+)", line))}
    assert told[str(number)] == max(told.values())
    nlp = spacy.load(out / "best")
    scores = nlp.evaluate(list(Corpus(config.parent / "train.spacy")(nlp)))
    assert 0.5 * scores["cats_score"] + 0.5 * scores["tag_acc"] == pytest.approx(told[str(number)], abs=1e-4)
    # best.cfg is a config that `spacy train` takes as it stands, and comes to the same score.
    trained = CliRunner().invoke(app, ["train", str(out / "best.cfg"), "-o", str(config.parent / "again")])
    assert trained.exit_code == 0, trained.output
    performance = spacy.load(config.parent / "again" / "model-best").meta["performance"]
    assert 0.5 * performance["cats_score"] + 0.5 * performance["tag_acc"] == pytest.approx(told[str(number)], abs=1e-4)
    # Typed again it goes on.
    more = tune(config, "--trials", "5", "--no-prune", "--training.max_steps", "2")
    assert [line.split(":")[0] for line in lines(more)] == ["trial 4"]
    other = tune(config, "--trials", "5", "--no-prune", "--training.max_steps", "3")
    assert other.exit_code == 1 and "T908" in other.output and "another config" in other.output
    third = tune(config, "--training.max_steps", "2", space=SPACE.replace("0.5", "0.6"))
    assert third.exit_code == 1 and "T908" in third.output and "another space" in third.output


def test_a_frozen_encoder_reads_each_text_once(config, monkeypatch):
    """In all trials together, and in those of another call."""
    seen, cut = [], transformer_shim.TransformerShim.cut
    monkeypatch.setattr(
        transformer_shim.TransformerShim, "cut", lambda self, docs: seen.extend(d.text for d in docs) or cut(self, docs)
    )
    assert tune(config, "--trials", "1").exit_code == 0
    texts = {doc.text for doc in Corpus(config.parent / "train.spacy")(spacy.blank("en")) for doc in [doc.x]}
    assert len(seen) == len(set(seen)) and set(seen) == texts
    seen.clear()
    assert tune(config, "--trials", "3").exit_code == 0
    assert seen == []
    files = list((config.parent / "out" / "rows").rglob("*.rows"))
    assert len(files) == 1 and files[0].stat().st_size


def test_hopeless_trials_end_early(config):
    result = tune(config, "--trials", "6", "--training.max_steps", "9", "--training.eval_frequency", "1")
    ended = [int(m[1]) if (m := re.search(r"ended at step (\d+)", line)) else 9 for line in lines(result)]
    assert ended[0] == 9 and len(ended) == 6
    assert min(ended) == 1 and sum(ended[1:]) < 5 * 9


def test_failures_are_recorded(config, monkeypatch):
    train = loop.train_trial

    def train_or_fail(config, *args, **kwargs):
        if config["training"]["dropout"] != 0.1:
            raise MemoryError("no room")
        train(config, *args, **kwargs)

    monkeypatch.setattr(loop, "train_trial", train_or_fail)
    result = tune(config, "--trials", "5", "--training.dropout", "0.1")
    assert result.exit_code == 0, result.output
    assert sum("MemoryError: no room" in line for line in lines(result)) >= 1
    assert "MemoryError: no room" in (config.parent / "out" / "tune.html").read_text()


def test_a_cause_outside_of_the_config_is_mended(config):
    """The search stops at once, and the same command begins again."""
    train = config.parent / "train.spacy"
    data = train.read_bytes()
    train.unlink()
    for _ in range(2):
        result = tune(config, "--trials", "2")
        assert result.exit_code == 1 and len(lines(result)) == 1
        assert "T909" in result.output and "train.spacy" in result.output and "same command" in result.output
    train.write_bytes(data)
    result = tune(config, "--trials", "2", "--no-prune")
    assert result.exit_code == 0, result.output
    assert len(lines(result)) == 2 and "failed" not in "".join(lines(result))
    assert "2 complete" in (config.parent / "out" / "tune.html").read_text()


def test_a_pruned_only_study_has_a_best(config, monkeypatch):
    """The time is up at the first evaluation."""
    train = loop.train_trial

    def train_too_long(config, evaluated, **settings):
        evaluated.end = 0.0
        train(config, evaluated, **settings)

    monkeypatch.setattr(loop, "train_trial", train_too_long)
    result = tune(config, "--trials", "1")
    assert result.exit_code == 0, result.output
    assert len(lines(result)) == 1 and "ended at step 0" in lines(result)[0]
    assert "1 pruned" in (config.parent / "out" / "tune.html").read_text()
    assert spacy.load(config.parent / "out" / "best")("a text").cats


def test_no_time_at_all(config):
    result = tune(config, "--minutes", "0")
    assert result.exit_code == 0 and not lines(result)


@pytest.mark.parametrize("weights", [{}, {"training.score_weights": {"cats_score": 0.0, "tag_acc": None}}])
def test_no_score_counts(tiny_bert, tmp_path, weights):
    weights = weights or {"training.score_weights": {"cats_score": None, "tag_acc": None}}
    result = tune(write_training(tmp_path, tiny_bert, overrides=weights))
    assert result.exit_code == 1 and "T910" in result.output and not lines(result)


def test_optuna_is_missing(config, monkeypatch):
    importing = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'", name="optuna")
        return importing(name, *args, **kwargs)

    import spacy_transfer.selection.tune.study as study

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(study, "import_extra", _missing)
    result = tune(config)
    assert result.exit_code == 1 and "T911" in result.output and "spacy-transfer[tune]" in result.output


def _missing(module, message):
    raise ImportError(message)


def test_a_slip_in_the_space(config):
    result = tune(config, space="[training.dropuot]\nlow = 0.0\nhigh = 0.5\n")
    assert result.exit_code == 1 and "T901" in result.output and "dropout" in result.output
    assert not (config.parent / "out").exists()


def test_short_names():
    params = {"a.b.rate": 0.00012345, "a.c.rate": "x", "a.size": 3, "a.t[lora].r": 8}
    assert _settings(params) == "b.rate = 0.0001234, c.rate = x, size = 3, r = 8"
