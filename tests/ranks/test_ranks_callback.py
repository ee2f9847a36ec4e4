"""`spacy train` by many ranks, from the config to what is written.

Guards also: start_checks.py.
"""

import random
import re
import subprocess
import sys

import pytest
import spacy
from spacy.cli.train import train
from spacy.lang.en import English
from spacy.tokens import DocBin
from spacy.util import load_config, registry

from spacy_transfer.pipeline.parameters import parameters_of
from spacy_transfer.ranks.buckets import tensor_of
from spacy_transfer.ranks.start_checks import check_start

from ..pipelines import TEXTS, make_examples
from ..training import write_training
from .processes import run_ranks, train_rank

BLOCK = {"@callbacks": "spacy-transfer.Ranks.v1", "timeout": 300}
SETTINGS = {"initialize.after_init": BLOCK, "training.optimizer.learn_rate": 0.01}


def weights_of(nlp):
    values = [named.parameter.value for name, pipe in nlp.pipeline for named in parameters_of(name, pipe)]
    return b"".join(tensor_of(value).numpy().tobytes() for value in values)


def one_rank(rank, config, output, overrides=({}, {})):
    """Train, and return the weights."""
    found, command = {}, sys.modules["spacy.cli.train"]
    loop = command.train_nlp

    def keep(nlp, *args, **kwargs):
        result = loop(nlp, *args, **kwargs)
        found["weights"] = weights_of(nlp)
        return result

    command.train_nlp = keep
    train_rank(config, output, overrides[rank])
    return found["weights"]


def test_ranks_end_with_the_same_weights_and_one_of_them_writes(tiny_bert, tmp_path):
    own = {"training.max_steps": 50, "training.eval_frequency": 25, "training.dropout": 0.2}
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, **own})
    first, second = run_ranks(one_rank, config, tmp_path / "out")
    assert first == second
    best = spacy.load(tmp_path / "out" / "model-last")
    assert weights_of(best) == first
    assert best.config["training"]["logger"]["@loggers"] == "spacy-transfer.ConsoleLogger.v1"
    assert best.config["initialize"]["after_init"] == {**BLOCK, "then": None}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model-best", "model-last"}


@registry.loggers("tests.RandomLogger.v1")
def random_logger(file):
    """A logger that needs random numbers, and evaluates by itself; it notes the steps."""

    def setup(nlp, stdout, stderr):
        random.random()

        def log(info):
            random.random()
            nlp.evaluate([])
            with open(file, "a", encoding="utf8") as rows:
                rows.write(f"{'-' if info is None else info['step']} ")

        return log, lambda: None

    return setup


@registry.callbacks("tests.Note.v1")
def note(file):
    def write(nlp):
        with open(file, "a", encoding="utf8") as rows:
            rows.write("initialized ")

    return write


def test_all_stop_together_and_the_first_alone_logs(tiny_bert, tmp_path):
    log = str(tmp_path / "log")
    own = {"training.max_steps": 0, "training.patience": 4, "training.eval_frequency": 2, "training.max_epochs": 40}
    logger = {"@loggers": "tests.RandomLogger.v1", "file": log}
    after = {**BLOCK, "then": {"@callbacks": "tests.Note.v1", "file": log}}
    own |= {"training.logger": logger, "initialize.after_init": after, "training.optimizer.learn_rate": 0.0}
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, **own})
    first, second = run_ranks(one_rank, config, tmp_path / "out")
    assert first == second
    # It is evaluated three times without improvement, and each time by one rank.
    assert (tmp_path / "log").read_text() == "initialized initialized 0 - 2 - 4 "


def dies(rank, config, output, how):
    import os

    def before(nlp, info):
        if rank == 1 and info["step"] == 2:
            if how == "killed":
                os._exit(9)
            raise KeyError("a broken row")

    registry.callbacks.register("tests.Dies.v1", func=lambda: before)
    train_rank(config, output)


@pytest.mark.parametrize(("how", "said"), [("raises", "KeyError: 'a broken row'"), ("killed", "it was killed")])
def test_a_rank_that_ends_ends_the_others(tiny_bert, tmp_path, how, said):
    own = {"training.before_update": {"@callbacks": "tests.Dies.v1"}, "training.max_steps": 20}
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, **own})
    first, second = run_ranks(dies, config, tmp_path / "out", how)
    assert "T256" in str(first) and "rank 1 (" in str(first) and said in str(first)
    assert isinstance(second, KeyError) if how == "raises" else second == "ended"
    assert spacy.load(tmp_path / "out" / "model-best")


def moves_alone(rank, config, output):
    def before(nlp, info):
        if rank == 1:
            nlp.get_pipe("tagger").model.get_ref("softmax").get_param("b")[...] += 1e-6

    registry.callbacks.register("tests.Moves.v1", func=lambda: before)
    train_rank(config, output)


def test_weights_that_move_on_one_rank(tiny_bert, tmp_path):
    own = {"training.before_update": {"@callbacks": "tests.Moves.v1"}, "training.max_steps": 1}
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, **own})
    for found in run_ranks(moves_alone, config, tmp_path / "out"):
        assert re.search("T258.*Step 0", str(found))


def test_one_process_trains_as_without_the_callback(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, "training.max_steps": 2})
    train(config, tmp_path / "out")
    train(config, tmp_path / "plain", overrides={"initialize.after_init": None})
    assert weights_of(spacy.load(tmp_path / "out/model-last")) == weights_of(spacy.load(tmp_path / "plain/model-last"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"training.optimizer.learn_rate": 0.02}, "T255.*rank 1 .*training.optimizer.learn_rate: 0.01 / 0.02"),
        ({"training.dropout": 0.2, "system.seed": 1}, "T255.*rank 1 .*system.seed: 0 / 1"),
        ({"paths.train": "other"}, "T257.*step 0.*texts in its batch"),
    ],
)
def test_ranks_that_differ(tiny_bert, tmp_path, overrides, said):
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, "training.max_steps": 2})
    if "paths.train" in overrides:
        changed = make_examples(spacy.blank("en"), ["the cats see a dog", *TEXTS[1:]])
        overrides = {"paths.train": str(tmp_path / "other.spacy")}
        DocBin(docs=[eg.reference for eg in changed]).to_disk(tmp_path / "other.spacy")
    for found in run_ranks(one_rank, config, tmp_path / "out", ({}, overrides)):
        assert re.search(said, str(found), re.DOTALL), found


def test_settings_that_do_not_go(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    config = write_training(tmp_path, tiny_bert, overrides=SETTINGS)
    with pytest.raises(ValueError, match="T254.*MASTER_ADDR.*torchrun --nproc-per-node 2"):
        train(config, tmp_path / "out")
    with pytest.raises(ValueError, match="T259.*training.seed is null"):
        check_start(English.from_config(load_config(config, {"training.seed": None}), auto_fill=True), None)
    with pytest.raises(ValueError, match="T215.*after_init.timeout"):
        train(config, tmp_path / "out", overrides={"initialize.after_init.timeout": 0})


DIES = """
import os
from spacy.util import registry

@registry.callbacks("tests.DiesOnce.v1")
def once():
    def before(nlp, info):
        if info["step"] == 2 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), 9)

    return before
"""


@pytest.mark.slow
def test_torchs_launcher_starts_again_after_a_rank_was_killed(tiny_bert, tmp_path):
    own = {"training.before_update": {"@callbacks": "tests.DiesOnce.v1"}, "training.max_steps": 4}
    config = write_training(tmp_path, tiny_bert, overrides={**SETTINGS, **own})
    (tmp_path / "dies.py").write_text(DIES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch += ["--max-restarts", "1", "-m", "spacy", "train", str(config)]
    launch += ["--output", str(tmp_path / "out"), "--code", str(tmp_path / "dies.py")]
    (tmp_path / "out").mkdir()
    done = subprocess.run(launch, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"exitcode: -9.*local_rank: 1", done.stderr)
    assert spacy.load(tmp_path / "out" / "model-last").pipe_names == ["transfer_backbone", "tagger", "textcat"]
