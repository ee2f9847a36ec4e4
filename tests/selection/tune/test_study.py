"""The study on the disk: claims, kills at any point, several processes, and what is kept.

Guards also: importances.py, search.py.
"""

import json
import multiprocessing
import os
import signal
import time

import optuna
import pytest
from optuna.trial import TrialState

from spacy_transfer.selection.tune import search as loop
from spacy_transfer.selection.tune.importances import importances
from spacy_transfer.selection.tune.search import Options, run
from spacy_transfer.selection.tune.space import Choices, Range, Space
from spacy_transfer.selection.tune.study import Search, make_sampler
from spacy_transfer.selection.tune.trial import Evaluation

CONFIG = {"training": {"x": 0.3, "size": 3, "eval_frequency": 1, "score_weights": {"s": 1.0}, "dev_corpus": "dev"}}
SPACE = Space({"training.x": Range(0.0, 1.0), "training.size": Choices(("1", "2"))})
FORK = multiprocessing.get_context("fork")


def score_of(config):
    return 1.0 - (config["training"]["x"] - 0.7) ** 2


def save(config, path, meta):
    path.mkdir(exist_ok=True)
    (path / "meta.json").write_text(json.dumps({**meta, "x": config["training"]["x"]}))


@pytest.fixture(autouse=True)
def fake_training(monkeypatch):
    """A training of three evaluations, whose last score is known from its config."""

    def train(config, evaluated, *, use_gpu=-1):
        for step in range(3):
            score = score_of(config) * (step + 1) / 3
            evaluated(Evaluation(step, score, lambda path, meta: save(config, path, meta)))

    monkeypatch.setattr(loop, "train_trial", train)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # What is killed here is a process, not the machine.
    monkeypatch.setattr(loop, "free_memory", lambda: None)  # Half a second: the tests have many objects.
    return train


def opened(folder, space=SPACE, config=CONFIG):
    return Search(folder, space, config, config)


def go_on(folder, trials, **options):
    search = opened(folder)
    run(search, Options(trials=trials, **{"prune": False, **options}), lambda trial: None)
    return search


def table(search):
    return [(trial.number, trial.state.name, trial.params, trial.user_attrs.get("score")) for trial in search.trials()]


def check_results(search):
    """`best` and best.cfg are the best trial's, and nothing else is left."""
    best = search.best()
    kept = json.loads((search.folder / "best" / "meta.json").read_text())
    assert kept["transfer_tune"] == best.number
    assert f"x = {kept['x']}" in (search.folder / "best.cfg").read_text()
    assert best.user_attrs["score"] == max(trial.user_attrs.get("score", -1.0) for trial in search.trials())
    assert {path.name for path in search.folder.iterdir()} == {
        "best",
        "best.cfg",
        "journal.log",
        "rows",
        "running",
        "trials",
    }
    assert not list((search.folder / "trials").iterdir())


def test_the_config_as_it_stands_is_trial_0(tmp_path):
    search = go_on(tmp_path / "a", 6)
    trials = search.trials()
    # size = 3 is not in the space, so Optuna knows nothing of it.
    assert trials[0].params == {"training.x": 0.3} and trials[0].value == pytest.approx(score_of(CONFIG))
    assert [trial.number for trial in trials] == list(range(6))
    assert all(set(trial.params) == set(SPACE.settings) for trial in trials[1:])
    check_results(search)


def test_the_same_seed_gives_the_same_trials(tmp_path):
    one, other = table(go_on(tmp_path / "a", 14, n_startup=4)), table(go_on(tmp_path / "b", 14, n_startup=4))
    third = table(go_on(tmp_path / "c", 14, n_startup=4, seed=1))
    assert one == other and one[1:] != third[1:]
    go_on(tmp_path / "d", 5, n_startup=4)
    assert table(go_on(tmp_path / "d", 14, n_startup=4)) == one


def test_the_config_as_it_stands_fails_before_its_first_evaluation(tmp_path, monkeypatch, fake_training):
    """It is begun again by each call, and does not count. After an evaluation it does."""

    def fail(config, evaluated, *, use_gpu=-1):
        raise OSError("no file")

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(ValueError, match="T909.*no file.*same command"):
            patch.setattr(loop, "train_trial", fail)
            go_on(tmp_path / "a", 3)
    search = go_on(tmp_path / "a", 3)
    assert [trial.state.name for trial in search.trials()] == ["COMPLETE"] * 3
    assert [trial.params for trial in search.trials()][0] == {"training.x": 0.3}
    check_results(search)

    def fail_later(config, evaluated, *, use_gpu=-1):
        fake_training(config, evaluated)
        if config["training"]["x"] == 0.3:
            raise OSError("no room")

    monkeypatch.setattr(loop, "train_trial", fail_later)
    states = [trial.state.name for trial in go_on(tmp_path / "b", 3).trials()]
    assert states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert table(go_on(tmp_path / "b", 3)) == table(opened(tmp_path / "b"))


def test_another_process_stops_too(tmp_path):
    one, other = opened(tmp_path / "a"), opened(tmp_path / "a")
    claim = one.claim(9, lambda number: make_sampler("random", number, 1))
    second = other.claim(9, lambda number: make_sampler("random", number, 1))
    one.finish(claim, "FAIL", score=None, error="no file")
    assert other.is_broken() and not other.claim(9, lambda number: make_sampler("random", number, 1))
    other.finish(second, "COMPLETE", score=0.5)
    assert not one.is_broken()  # There is a score: the setting that failed may be to blame.


def test_it_goes_on_and_ends(tmp_path):
    assert len(go_on(tmp_path / "a", 3).trials()) == 3
    search = go_on(tmp_path / "a", 5)
    assert len(search.trials()) == 5
    assert table(go_on(tmp_path / "a", 5)) == table(search)
    check_results(search)


def test_samplers(tmp_path):
    assert isinstance(make_sampler("random", 0, 1), optuna.samplers.RandomSampler)
    assert isinstance(make_sampler("tpe", 0, 1), optuna.samplers.TPESampler)
    at_random, by_tpe = (
        [t.params["training.x"] for t in go_on(tmp_path / name, 24, sampler=name, n_startup=5).trials()[12:]]
        for name in ("random", "tpe")
    )
    far = [sum(abs(x - 0.7) for x in found) for found in (at_random, by_tpe)]
    assert far[1] < 0.5 * far[0]


@pytest.mark.parametrize("what", ["space", "config"])
def test_another_search_in_the_folder(tmp_path, what):
    go_on(tmp_path / "a", 2)
    before = table(opened(tmp_path / "a"))
    other = {"space": SPACE, "config": CONFIG, what: Space({"training.x": Range(0.0, 2.0)})}
    if what == "config":
        other["config"] = {"training": {**CONFIG["training"], "more": 1}}
    with pytest.raises(ValueError, match=f"T908.*another {what}"):
        opened(tmp_path / "a", **other)
    assert table(opened(tmp_path / "a")) == before


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ValueError, match="T913"):
            opened(place)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["trials/3/thesis.txt", "rows/corn.csv", "running/shoes.txt"])
def test_a_folder_of_somebody_elses_with_the_same_names(name, tmp_path):
    precious = tmp_path / name
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    with pytest.raises(ValueError, match="T913"):
        opened(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [precious]


def test_another_process_has_just_begun(tmp_path):
    """It has made its folders and locked them. Its journal is not there yet."""
    for name in ("trials", "running", "rows"):
        (tmp_path / name).mkdir()
    (tmp_path / "running" / "search.lock").touch()
    assert opened(tmp_path).trials() == []


# Kills


class Killed:
    """Ends its process at the nth call of a method, before or after it."""

    def __init__(self, call, count, after):
        self.call, self.count, self.after = call, count, after

    def __call__(self, *args, **kwargs):
        self.count -= 1
        if not self.count and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = self.call(*args, **kwargs)
        if not self.count:
            os.kill(os.getpid(), signal.SIGKILL)
        return found


def killed(folder, monkeypatch, place, count, after):
    """Run a search in a process that is killed."""

    def work():
        with monkeypatch.context() as patch:
            owner, name = place
            patch.setattr(owner, name, Killed(getattr(owner, name), count, after))
            if isinstance(owner, type):
                patch.setattr(owner, name, _method(getattr(owner, name)))
            go_on(folder, 6)

    process = FORK.Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def _method(killing):
    return lambda self, *args, **kwargs: killing(self, *args, **kwargs)


PLACES = {
    "asked": (optuna.study.Study, "ask"),
    "reported": (optuna.trial.Trial, "report"),
    "saved": (Search, "write_config"),
    "told": (optuna.study.Study, "tell"),
    "kept": (Search, "_settle"),
    "renamed": (type(__import__("pathlib").Path()), "rename"),
    "enqueued": (optuna.study.Study, "enqueue_trial"),
    "deleted": (Search, "_delete_others"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", PLACES)
def test_a_kill_loses_at_most_the_trial_that_runs(tmp_path, monkeypatch, name, count, after):
    folder = tmp_path / "a"
    code = killed(folder, monkeypatch, PLACES[name], count, after)
    assert code == -signal.SIGKILL or (code == 0 and name in ("enqueued", "renamed"))
    ended = []
    if (folder / "journal.log").exists():
        found = (
            optuna.load_study(
                study_name="tune",
                storage=optuna.storages.JournalStorage(
                    optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
                ),
            )
            if (folder / "journal.log").stat().st_size
            else None
        )
        if found is not None:
            ended = [(t.number, t.value) for t in found.trials if t.state == TrialState.COMPLETE]
    search = go_on(folder, 6)
    assert set(ended) <= {(trial.number, trial.value) for trial in search.trials()}
    assert [trial.state for trial in search.trials()] == [TrialState.COMPLETE] * 6
    assert sum("as_it_stands" in trial.user_attrs for trial in search.trials()) == 1
    check_results(search)


def test_a_lost_trial_is_begun_again_with_its_settings(tmp_path, monkeypatch):
    killed(tmp_path / "a", monkeypatch, PLACES["reported"], 5, True)
    lost = opened(tmp_path / "a").study.trials[1]
    assert lost.state == TrialState.RUNNING
    again = {trial.number: trial for trial in go_on(tmp_path / "a", 6).trials()}
    assert 1 not in again and again[2].params == lost.params and again[2].user_attrs["retry"] == 1


def test_what_kills_its_process_twice_has_failed(tmp_path, monkeypatch):
    for _ in range(2):
        killed(tmp_path / "a", monkeypatch, PLACES["reported"], 1, False)
    search = go_on(tmp_path / "a", 4)
    states = [trial.state.name for trial in search.trials()]
    assert states == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_a_line_that_was_cut_off(tmp_path):
    before = table(go_on(tmp_path / "a", 3))
    with (tmp_path / "a" / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert table(opened(tmp_path / "a")) == before
    assert table(go_on(tmp_path / "a", 5))[:3] == before


# Several processes


def test_two_processes_share_the_trials(tmp_path, monkeypatch, fake_training):
    def slowly(config, evaluated, *, use_gpu=-1):
        time.sleep(0.02)
        fake_training(config, evaluated)

    monkeypatch.setattr(loop, "train_trial", slowly)
    workers = [FORK.Process(target=go_on, args=(tmp_path / "a", 12)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    search = opened(tmp_path / "a")
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [(trial.number, trial.state) for trial in search.trials()] == [(i, TrialState.COMPLETE) for i in range(12)]
    assert sum("as_it_stands" in trial.user_attrs for trial in search.trials()) == 1
    check_results(search)


def test_a_trial_that_another_process_runs_is_left_alone(tmp_path):
    one, other = opened(tmp_path / "a"), opened(tmp_path / "a")
    claim = one.claim(9, lambda number: make_sampler("random", number, 1))
    save(CONFIG, one.pipeline_of(claim.trial.number), {"transfer_tune": 0})
    other.settle()
    run(other, Options(trials=3, prune=False), lambda trial: None)
    assert [trial.state.name for trial in other.trials()] == ["RUNNING", "COMPLETE", "COMPLETE"]
    assert one.pipeline_of(0).exists()
    one.finish(claim, "COMPLETE", score=2.0)
    assert one.best().number == 0 and json.loads((tmp_path / "a" / "best" / "meta.json").read_text())["x"] == 0.3


# Importance


def test_importance(tmp_path):
    search = go_on(tmp_path / "a", 20, sampler="random")
    found = importances(search)
    assert list(found) == ["training.x", "training.size"] and sum(found.values()) == pytest.approx(1.0)
    assert found["training.x"] > 0.8
    assert importances(go_on(tmp_path / "b", 3)) == {}
