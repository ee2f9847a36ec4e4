"""A `spacy train` that is killed goes on, and ends with the same bytes.

Guards also: settings.py.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.cli.init_config import init_config
from spacy.cli.train import train
from thinc.api import Config

from spacy_transfer.resume.checkpoints import Checkpoints
from spacy_transfer.resume.resume import ResumeConfig, _trainings, create_resume_v1
from spacy_transfer.resume.training import Training

from .kinds import contents, write_config, write_encoder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are made in forked processes")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoders") / "bert")


def run(config, output, *, kill_after=None):
    """Train in a process of its own; kill it after a step. RETURNS (int): The exit code."""
    pid = os.fork()
    if not pid:
        log = Training._log

        def log_and_die(self, info, log_row):
            log(self, info, log_row)
            if self._step == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

        Training._log = log_and_die
        try:
            with output.with_suffix(".log").open("a") as file, redirect_stdout(file):
                train(config, output)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def go_on(config, output, steps):
    for step in steps:
        assert run(config, output, kill_after=step) == -signal.SIGKILL
    assert run(config, output) == 0
    return contents(output)


# A checkpoint every 4 steps: after steps 3, 7, 11, ... Evaluated at 0, 5, 10, ...
@pytest.mark.parametrize("kind", ["lpft", "multitask", "adam"])
def test_the_same_bytes_after_kills(kind, encoder, tmp_path):
    short = {"training.max_steps": 14}
    config = write_config(tmp_path, kind, encoder, **short)
    whole = go_on(config, tmp_path / "whole", [])
    assert go_on(config, tmp_path / "killed", [1, 5, 11]) == whole
    assert b"every_steps = 4" in whole["model-best/config.cfg"] and b"inner" not in whole["model-best/config.cfg"]
    log = (tmp_path / "killed.log").read_text()
    assert log.count("  0       0") == 4 and len(list((tmp_path / "killed" / "checkpoints").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frozen", "lora", "ner_crf", "gradual"])
def test_the_same_bytes_after_kills_of_other_kinds(kind, encoder, tmp_path):
    test_the_same_bytes_after_kills(kind, encoder, tmp_path)


def test_without_a_seed(encoder, tmp_path):
    """What a training without a seed would have become is known if it is killed in a copy."""
    config = write_config(tmp_path, "pcgrad", encoder, **{"training.max_steps": 13})
    assert run(config, tmp_path / "first", kill_after=6) == -signal.SIGKILL
    (tmp_path / "second").mkdir()
    subprocess.run(["cp", "-r", str(tmp_path / "first"), str(tmp_path / "second")], check=True)
    assert go_on(config, tmp_path / "first", []) == go_on(config, tmp_path / "second" / "first", [9])


@pytest.fixture
def killed(encoder, tmp_path):
    """A training that was killed after step 8, and its config."""
    file = tmp_path / "log.jsonl"
    config = write_config(tmp_path, "frozen", encoder, **{"training.logger.output_file": str(file)})
    assert run(config, tmp_path / "out", kill_after=8) == -signal.SIGKILL
    return config, tmp_path / "out"


def test_steps_may_be_added_and_the_log_is_whole(killed):
    config, output = killed
    train(config, output, overrides={"training.max_steps": 11, "training.patience": 100})
    rows = list(srsly.read_jsonl(output.parent / "log.jsonl"))
    assert [row["step"] for row in rows] == [0, 5, 10]
    before = contents(output)
    with pytest.raises(ValueError, match=r"T942.*max_steps = 3.*after step 11"):
        train(config, output, overrides={"training.max_steps": 3})
    assert contents(output) == before and not _trainings.keys() - {max(_trainings, default=0)}


def test_schedules_that_end_with_the_training_may_move(encoder, tmp_path, caplog):
    """As all ready configs have them: total_steps = ${training.max_steps}."""
    given = {"training.max_steps": 9, "training.optimizer.learn_rate.total_steps": "${training.max_steps}"}
    config = write_config(tmp_path, "lpft", encoder, **given)
    assert run(config, tmp_path / "out", kill_after=8) == -signal.SIGKILL
    nlp = train_more(config, tmp_path / "out", 12)
    assert "W943" in caplog.text and "training.optimizer.learn_rate.total_steps" in caplog.text
    assert nlp.config["training"]["optimizer"]["learn_rate"]["total_steps"] == "${training.max_steps}"


def train_more(config, output, max_steps):
    """RETURNS (Language): model-last after the same command with more steps."""
    train(config, output, overrides={"training.max_steps": max_steps})
    return spacy.load(output / "model-last")


def test_what_changed_is_named_and_refused(killed, encoder, caplog):
    config, output = killed
    before = contents(output)
    with pytest.raises(ValueError, match=r"T940.*training\.dropout was 0\.2, is 0\.1"):
        train(config, output, overrides={"training.dropout": 0.1})
    data = output.parent / "train.spacy"
    kept = data.read_bytes()
    docs = list(spacy.tokens.DocBin().from_bytes(kept).get_docs(spacy.blank("en").vocab))
    docs[0].cats = {"long": 1.0, "short": 0.0} if docs[0].cats["short"] else {"long": 0.0, "short": 1.0}
    spacy.tokens.DocBin(docs=docs, store_user_data=True).to_disk(data)
    with pytest.raises(ValueError, match=r"T940.*training\.train_corpus are others"):
        train(config, output)
    assert contents(output) == before
    given = {"initialize.after_init.despite_changes": True, "training.dropout": 0.1, "training.max_steps": 9}
    train(config, output, overrides=given)
    assert "W941" in caplog.text and "training.dropout" in caplog.text and "train_corpus" in caplog.text


def test_a_training_that_is_over_before_the_checkpoint(killed, caplog):
    config, output = killed
    before = contents(output)
    train(config, output, overrides={"training.patience": 1})
    assert "W942" in caplog.text and contents(output) == before


def test_the_stock_command_after_a_kill(tmp_path):
    """The command line itself, on a pipeline of spaCy alone."""
    from .kinds import write_data

    write_data(tmp_path)
    config = tmp_path / "tagger.cfg"
    block = {"@callbacks": "spacy-transfer.Resume.v1", "every_steps": 2, "minutes": 0}
    init_config(lang="en", pipeline=["tagger"]).to_disk(tmp_path / "full.cfg")
    full = Config().from_disk(tmp_path / "full.cfg", interpolate=False)
    full["initialize"]["after_init"] = block
    full["paths"].update(train=str(tmp_path / "train.spacy"), dev=str(tmp_path / "dev.spacy"))
    full["training"].update(max_steps=40, eval_frequency=10)
    full.to_disk(config)
    command = [sys.executable, "-m", "spacy", "train", str(config), "--output"]
    with subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.DEVNULL) as process:
        while not list((tmp_path / "out").glob("checkpoints/checkpoint-*")) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    train(config, tmp_path / "out")
    train(config, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_settings():
    for given in ({"every_steps": 0, "minutes": 0}, {"every_steps": -1}, {"minutes": float("inf")}):
        with pytest.raises(ValueError, match="T943"):
            create_resume_v1(**given)


def test_another_callback_and_the_config_as_it_was_written(nlp):
    seen = []
    config = nlp.config.copy()
    create_resume_v1(then=seen.append)(nlp)
    assert seen == [nlp] and isinstance(nlp.config, ResumeConfig)
    assert nlp.config.to_str() == config.to_str() and nlp.config.copy().interpolate() == config.interpolate()
    block = nlp.config.interpolate()["training"]["optimizer"]
    assert block["@optimizers"] == "spacy-transfer.resume.optimizer" and block["inner"]["@optimizers"] == "Adam.v1"
    create_resume_v1()(nlp)
    assert sum(training.nlp is nlp for training in _trainings.values()) == 1
    _trainings.clear()
    assert nlp.config.interpolate() == config.interpolate()


def test_no_output_folder(encoder, tmp_path):
    config = write_config(tmp_path, "frozen", encoder)
    with pytest.raises(ValueError, match="T944"):
        train(config, None)
    path = {"initialize.after_init.path": str(tmp_path / "kept"), "training.max_steps": 4}
    train(config, None, overrides=path)
    assert Checkpoints(Path(tmp_path / "kept")).read().state.values["training"]["step"] == 3
