"""`python -m spacy transfer tune --folds`: what is judged and trained, on real trainings; going on; two at once."""

import json
import multiprocessing
import re
from itertools import chain, repeat
from types import SimpleNamespace

import numpy
import pytest
import spacy
import srsly
from spacy.cli import app
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.util import load_config
from thinc.api import Config
from typer.testing import CliRunner

import spacy_transfer.cli.choosing.tune  # noqa: F401
import spacy_transfer.selection.tune.by_folds as module
import spacy_transfer.selection.tune.search as loop
from spacy_transfer.selection.tune.folds import Folds

from ...training import write_training

SOLVE = {"@callbacks": "spacy-transfer.SolveHead.v1", "share": 0.5, "average_heads": True}
FEW = {
    "nlp.pipeline": ["transfer_backbone", "textcat"],
    "training.score_weights": {"cats_score": 0.5, "cats_macro_auc": 0.5},
    "training.before_to_disk": SOLVE,
    "training.max_steps": 3,
    "training.optimizer.learn_rate": 0.003,
    "initialize.components.textcat": {"fit": "maxent", "strength": 1.0},
    "paths.dev": None,
    "corpora.dev.path": "${paths.dev}",
}
SPACE = """
[training.before_to_disk.share]
choices = [0.0, 0.5, 1.0]
[training.optimizer.learn_rate]
choices = [0.001, 0.003, 0.01]
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(loop, "free_memory", lambda: None)  # Half a second: the tests have many objects.


@pytest.fixture
def config(tiny_bert, tmp_path):
    path = write_training(tmp_path, tiny_bert, overrides=FEW)
    found = Config().from_disk(path, interpolate=False)
    del found["components"]["tagger"]
    found.to_disk(path)
    nlp, words = spacy.blank("en"), {"pets": "cat dog fur paw".split(), "cars": "road wheel fast motor".split()}
    draws, docs = numpy.random.default_rng(0), []
    for label, own in words.items():
        for i in range(5):
            doc = nlp.make_doc(" ".join(draws.choice([*own, "the", "a"], size=5)) + f" {i}")
            doc.cats = {other: float(other == label) for other in words}
            docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    return path


def tune(config, *more, space=SPACE, out="out"):
    path = config.parent / "space.cfg"
    path.write_text(space)
    return CliRunner().invoke(app, ["transfer", "tune", str(config), str(path), "-o", str(config.parent / out), *more])


def trials(result):
    return re.findall(r"^trial (\d+): ([\d.]+) ± ([\d.]+)", result.output, re.MULTILINE)


def texts_of(path):
    return sorted(doc.text for doc in DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def by_hand(config, fold, folds, tmp_path):
    """`spacy train` on the rest of a fold, and the score of its model-last on the fold."""
    nlp = spacy.blank("en")
    examples = list(Corpus(config.parent / "train.spacy")(nlp))
    fold_of = folds.deal(examples)
    rest, out = tmp_path / f"rest{fold}.spacy", tmp_path / f"out{fold}.spacy"
    DocBin(docs=[eg.reference for eg in examples if fold_of[eg.reference.text] != fold]).to_disk(rest)
    DocBin(docs=[eg.reference for eg in examples if fold_of[eg.reference.text] == fold]).to_disk(out)
    paths = ["--paths.train", str(rest), "--paths.dev", str(rest), "--training.patience", "0"]
    done = CliRunner().invoke(app, ["train", str(config), "-o", str(tmp_path / f"{fold}"), *paths])
    assert done.exit_code == 0, done.output
    trained = spacy.load(tmp_path / f"{fold}" / "model-last")
    scores = trained.evaluate(list(Corpus(out)(trained)))
    return 0.5 * scores["cats_score"] + 0.5 * scores["cats_macro_auc"]


def test_the_score_is_that_of_model_last(config, tmp_path):
    result = tune(config, "--folds", "3", "--trials", "1")
    assert result.exit_code == 0, result.output
    scores = [by_hand(config, fold, Folds(3), tmp_path) for fold in range(3)]
    ((_, mean, within),) = trials(result)
    assert float(mean) == pytest.approx(numpy.mean(scores), abs=1e-4)
    assert float(within) == pytest.approx(numpy.std(scores, ddof=1) / 3**0.5, abs=1e-4)
    for part in ("10 different texts in 3 folds", "One fold took", "1 trials of 3 folds", "means over folds"):
        assert part in " ".join(result.output.split()), result.output
    assert "in 3 folds (seed 0)" in (config.parent / "out" / "tune.html").read_text()


def test_the_best_is_trained_on_all_texts(config, tmp_path, monkeypatch):
    """To what `spacy train best.cfg` gives as model-last. The dev corpus is read by nobody."""
    missing = str(tmp_path / "missing.spacy")
    result = tune(
        config,
        "--folds",
        "2",
        "--trials",
        "4",
        "--no-prune",
        "--paths.dev",
        missing,
        "--json",
        str(tmp_path / "x.json"),
    )
    assert result.exit_code == 0, result.output
    found = srsly.read_json(tmp_path / "x.json")
    scores = [round(trial["score"], 4) for trial in found["trials"]]
    assert scores.index(max(scores)) == found["best"], "of equal ones the first"
    assert all(trial["deviation"] is not None and trial["step"] == 2 for trial in found["trials"])
    out = config.parent / "out"
    assert json.loads((out / "best" / "meta.json").read_text())["transfer_tune"] == found["best"]
    paths = ["--paths.dev", str(config.parent / "train.spacy")]
    done = CliRunner().invoke(app, ["train", str(out / "best.cfg"), "-o", str(tmp_path / "again"), *paths])
    assert done.exit_code == 0, done.output
    own, stock = out / "best", tmp_path / "again" / "model-last"
    for name in ("transfer_backbone", "textcat"):
        assert (own / name / "model").read_bytes() == (stock / name / "model").read_bytes()


def test_it_goes_on(config):
    """Trials of earlier calls count; what is best then is trained anew; other folds are another search."""
    assert tune(config, "--folds", "2", "--trials", "1").exit_code == 0
    more = tune(config, "--folds", "2", "--trials", "2", "--no-prune")
    assert [number for number, _, _ in trials(more)] == ["1"]
    assert trials(tune(config, "--folds", "2", "--trials", "2")) == []
    train = str(config.parent / "train.spacy")
    for other in (["--folds", "3"], ["--folds", "2", "--seed", "1"], ["--paths.dev", train]):
        result = tune(config, *other)
        assert result.exit_code == 1 and "T908" in result.output, result.output
    whole = tune(config, "--folds", "2", "--trials", "2", "--no-prune", out="whole")
    best = [config.parent / name / "best.cfg" for name in ("out", "whole")]
    assert best[0].read_text() == best[1].read_text() and len(trials(whole)) == 2


def test_a_call_that_ends_before_the_last_training(config, monkeypatch):
    train = module.train_to_end

    def killed(given, **settings):
        if "save" in settings:
            raise KeyboardInterrupt
        return train(given, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_to_end", killed)
        assert tune(config, "--folds", "2", "--trials", "1").exit_code != 0
    out = config.parent / "out"
    assert not (out / "best").exists()
    calls = []
    monkeypatch.setattr(
        module, "train_to_end", lambda *args, **settings: calls.append(settings) or train(*args, **settings)
    )
    assert tune(config, "--folds", "2", "--trials", "1").exit_code == 0
    assert len(calls) == 1 and "save" in calls[0] and spacy.load(out / "best")("a cat").cats


def test_a_killed_trial_keeps_its_folds(config, monkeypatch):
    train, calls = module.train_to_end, []

    def second_is_killed(given, **settings):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(given, **settings)

    monkeypatch.setattr(module, "train_to_end", second_is_killed)
    assert tune(config, "--folds", "3", "--trials", "1").exit_code != 0
    assert tune(config, "--folds", "3", "--trials", "1").exit_code == 0
    assert len(calls) == 2 + 2 + 1


def test_a_frozen_encoder_is_not_trained(config, monkeypatch):
    """share = 0: one step; and what has no effect there makes no other trial."""
    train, steps = module.train_to_end, []

    def counted(given, **settings):
        steps.append(given["training"]["max_steps"])
        return train(given, **settings)

    monkeypatch.setattr(module, "train_to_end", counted)
    space = "[training.optimizer.learn_rate]\nchoices = [0.001, 0.003, 0.01]\n"
    result = tune(config, "--folds", "2", "--trials", "3", "--training.before_to_disk.share", "0.0", space=space)
    assert result.exit_code == 0, result.output
    assert steps == [1, 1, 1] and len({score for _, score, _ in trials(result)}) == 1
    assert load_config(config.parent / "out" / "best.cfg")["training"]["max_steps"] == 1
    steps.clear()
    assert (
        tune(config, "--folds", "2", "--trials", "1", "--training.before_to_disk.share", "0.5", out="b").exit_code == 0
    )
    assert steps == [3, 3, 3]


def test_hopeless_trials_are_not_scored_on_all_folds(config, tmp_path, monkeypatch):
    scores = iter([0.9, 0.8, 0.4, 0.4] + [0.1] * 20)
    monkeypatch.setattr(
        module,
        "train_to_end",
        lambda given, held_out=None, save=None, use_gpu=-1: (
            next(scores) if held_out else save(spacy.blank("en")) or 0.0
        ),
    )
    result = tune(config, "--folds", "4", "--trials", "3", "--json", str(tmp_path / "x.json"))
    assert result.exit_code == 0, result.output
    assert "0.1000 ± 0.0000, ended after 2 folds, best 0.6250 (trial 0, 0.8500 after 2 folds), " in result.output
    found = srsly.read_json(tmp_path / "x.json")
    assert [trial["step"] for trial in found["trials"]] == [4, 2, 2] and found["best"] == 0


def test_what_is_not_scored_on_all_folds_is_never_the_best(config, tmp_path, monkeypatch):
    scores = iter([0.4, 0.4, 0.4, 0.4, 0.9, 0.1, 0.9, 0.9])
    monkeypatch.setattr(
        module,
        "train_to_end",
        lambda given, held_out=None, save=None, use_gpu=-1: (
            next(scores) if held_out else save(spacy.blank("en")) or 0.0
        ),
    )
    monkeypatch.setattr(
        loop._Watcher,
        "_end_early",
        lambda self: (_ for _ in ()).throw(loop._Stopped) if self.claim.trial.number == 1 else None,
    )
    result = tune(config, "--folds", "4", "--trials", "2", "--json", str(tmp_path / "x.json"))
    found = srsly.read_json(tmp_path / "x.json")
    assert result.exit_code == 0 and found["trials"][1]["score"] == 0.9 and found["best"] == 0


def test_two_at_once(config):
    """They share the trials, and the last one trains the best."""
    (config.parent / "said").mkdir()

    def work(number):
        result = tune(config, "--folds", "2", "--trials", "3", "--no-prune")
        (config.parent / "said" / str(number)).write_text(f"{result.exit_code} {result.output}")

    workers = [multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    said = [path.read_text() for path in (config.parent / "said").iterdir()]
    assert [text[0] for text in said] == ["0", "0"], said
    numbers = [int(number) for text in said for number in re.findall(r"^trial (\d+):", text, re.MULTILINE)]
    assert sorted(numbers) == list(range(3))
    assert tune(config, "--folds", "2", "--trials", "3", "--no-prune", out="alone").exit_code == 0
    out, alone = config.parent / "out", config.parent / "alone"
    for name in ("best.cfg", "best/transfer_backbone/model", "best/textcat/model"):
        assert (out / name).read_bytes() == (alone / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {p.name for p in alone.iterdir()}


def test_rare_labels_and_patience_are_said(config, tmp_path):
    docs = list(DocBin().from_disk(config.parent / "train.spacy").get_docs(spacy.blank("en").vocab))
    DocBin(docs=[*docs[:5], docs[-1], docs[-1]]).to_disk(config.parent / "train.spacy")
    result = tune(config, "--folds", "3", "--trials", "1", "--training.patience", "7")
    said = " ".join(result.output.split())
    assert "fewer texts than folds, so not in all of them: cars" in said and "patience = 7 is without effect" in said
    assert load_config(config.parent / "out" / "best.cfg")["training"]["patience"] == 0


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--folds", "1"], "T915"),
        (["--folds", "11"], "T916"),
        (["--folds", "2", "--training.max_epochs", "-1"], "T917"),
    ],
)
def test_folds_that_make_no_sense(config, more, code):
    result = tune(config, *more)
    assert (
        result.exit_code == (2 if code == "T915" else 1)
        and code in result.output
        and not (config.parent / "out").exists()
    )


def test_a_slip_in_the_space(config):
    result = tune(config, "--folds", "2", space="[training.dropuot]\nlow = 0.0\nhigh = 0.5\n")
    assert result.exit_code == 1 and "T901" in result.output and not (config.parent / "out").exists()


def test_a_trial_that_the_time_cut_short_goes_on(config, monkeypatch):
    """The config as it stands is always scored on all folds in the end. Until then nothing is the best, and that is
    said."""
    clock = chain([0.0, 0.0], repeat(100.0))  # The minute begins, the trial begins, its first fold ends.
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        first = tune(config, "--folds", "2", "--trials", "1", "--minutes", "1")
    said = " ".join(first.output.split())
    assert first.exit_code == 0 and "No trial has been scored on all 2 folds, so there is no best" in said, said
    assert "ended after 1 folds" in said and not (config.parent / "out" / "best").exists()
    again = tune(config, "--folds", "2", "--trials", "1")
    assert again.exit_code == 0 and len(trials(again)) == 1 and (config.parent / "out" / "best").exists()
    assert trials(again)[0][1:] == trials(tune(config, "--folds", "2", "--trials", "1", out="anew"))[0][1:]


def test_any_seed(config):
    result = tune(config, "--folds", "2", "--trials", "1", "--seed", "4294967295")
    assert result.exit_code == 0, result.output
    assert tune(config, "--folds", "2", "--seed", "-1", out="b").exit_code == 2


def test_what_is_said_to_a_newcomer(config):
    said = " ".join(tune(config, "--folds", "2", "--trials", "1").output.split())
    assert re.search(r"would take about \d+ s, if all", said) and "± is the standard error of the mean" in said
    docs = list(DocBin().from_disk(config.parent / "train.spacy").get_docs(spacy.blank("en").vocab))
    DocBin(docs=[*docs[:5], docs[-1]]).to_disk(config.parent / "train.spacy")
    said = " ".join(tune(config, "--folds", "2", "--trials", "1", out="b").output.split())
    assert "name all labels in [initialize.components.NAME] labels" in said
