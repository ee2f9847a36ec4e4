"""Trainings by ranks that are killed: all go on from the first rank's checkpoint, and end with the same bytes."""

import os
import random
import re
import signal
import subprocess
import sys

import numpy
import pytest
import spacy
import torch
from spacy.cli.train import train

from spacy_transfer.ranks.process_group import ProcessGroup
from spacy_transfer.resume.agreement import Agreement
from spacy_transfer.resume.checkpoints import Checkpoints
from spacy_transfer.resume.state import State
from spacy_transfer.resume.training import Training

from ..ranks.processes import run_ranks, train_rank
from .kinds import contents, write_config, write_encoder

RESUME = {"@callbacks": "spacy-transfer.Resume.v1", "every_steps": 4, "minutes": 0}
RANKS = {"@callbacks": "spacy-transfer.Ranks.v1", "timeout": 100}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoders") / "bert")


def one_rank(rank, config, output, kill_after, drawn_alone=False):
    """Train; rank 1 is killed after a step."""
    torch.set_num_threads(1)
    log = Training._log

    def log_and_die(self, info, log_row):
        log(self, info, log_row)
        if drawn_alone and rank == 1 and self._step == 0:
            random.random()
            torch.rand(1)
        if self._step == kill_after and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Training._log = log_and_die
    train_rank(config, output)
    return "done"


def go_on(config, output, steps, **settings):
    for step in steps:
        first, second = run_ranks(one_rank, config, output, step, *settings.values())
        assert "T256" in str(first) and second == "ended"
    assert run_ranks(one_rank, config, output, None, *settings.values()) == ["done", "done"]
    return contents(output)


# A checkpoint every 4 steps: after steps 3, 7, 11. Evaluated at 0, 5, 10.
@pytest.mark.parametrize(("kind", "outer"), [("lpft", "Ranks"), ("multitask", "Resume")])
def test_the_same_bytes_after_a_rank_was_killed(kind, outer, encoder, tmp_path):
    blocks = {"Ranks": {**RANKS, "then": RESUME}, "Resume": {**RESUME, "then": RANKS}}
    given = {"training.max_steps": 12, "initialize.after_init": blocks[outer]}
    config = write_config(tmp_path, kind, encoder, **given)
    whole = go_on(config, tmp_path / "whole", [])
    assert go_on(config, tmp_path / "killed", [2, 9]) == whole
    assert len(list((tmp_path / "killed" / "checkpoints").iterdir())) == 2
    saved = spacy.load(tmp_path / "killed" / "model-last").config["initialize"]["after_init"]
    assert saved["@callbacks"] == blocks[outer]["@callbacks"]
    assert saved["then"]["@callbacks"] == blocks[outer]["then"]["@callbacks"]
    with pytest.raises(ValueError, match=r"T940.*ranks was 2, is 1"):
        train(config, tmp_path / "killed")


def test_what_a_rank_has_drawn_alone(encoder, tmp_path):
    """Something has used random numbers on one rank alone: its states are kept apart."""
    given = {"training.max_steps": 9, "initialize.after_init": {**RANKS, "then": RESUME}}
    given |= {"training.max_epochs": 1, "training.batcher.size": 2}  # Ranks that shuffle differently are refused.
    config = write_config(tmp_path, "full", encoder, **given)
    whole = go_on(config, tmp_path / "whole", [], drawn_alone=True)
    assert go_on(config, tmp_path / "killed", [6], drawn_alone=True) == whole
    arrays = Checkpoints(tmp_path / "killed" / "checkpoints").read().state.arrays
    assert "random.1.python" in arrays and "random.1.torch" in arrays and "random.0.torch" not in arrays


def test_the_first_rank_says_when():
    assert run_ranks(agree_on_time) == [(True, False), (True, False)]


def agree_on_time(rank):
    agreement = Agreement(ProcessGroup(60))
    return agreement.on_time(rank == 0), agreement.on_time(rank == 1)


def agree(rank, folders):
    group = ProcessGroup(60)
    agreement, kept = Agreement(group), Checkpoints(folders[rank])
    found = agreement.on_checkpoint(kept.read() if rank == 0 else None)
    return None if found is None else (found.path, found.state.values["step"])


def test_a_folder_that_not_all_machines_have(tmp_path):
    assert run_ranks(agree, [tmp_path, tmp_path]) == [None, None]
    kept = Checkpoints(tmp_path / "kept")
    kept.write(3, State({"a": numpy.ones(2)}, {"step": 3}), None)
    path = kept.folder / "checkpoint-000000003"
    assert run_ranks(agree, [kept.folder, "elsewhere"]) == [(path, 3), (path, 3)]
    missing = r"T490.*Rank 1 \(.+\) cannot read.*checkpoint-000000003.*FileNotFound.*share"
    for how, said in (("missing", missing), ("other", "T490.*another checkpoint has this name there")):
        for found in run_ranks(on_another_machine, kept.folder, how):
            assert re.search(said, str(found)), found


def on_another_machine(rank, folder, how):
    group, read_one = ProcessGroup(60), Checkpoints.read_one
    found = Checkpoints(folder).read() if rank == 0 else None
    if rank == 1:
        # The other machine has its own disk under the same path.
        other = Checkpoints(folder.with_name("other"))
        if how == "other":
            other.write(3, State({"a": numpy.zeros(2)}, {"step": 3}), None)
        Checkpoints.read_one = lambda self, path: read_one(self, other.folder / path.name)
    return Agreement(group).on_checkpoint(found)


def test_several_processes_that_are_no_ranks(encoder, tmp_path, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    config = write_config(tmp_path, "frozen", encoder)
    with pytest.raises(ValueError, match=r"T947.*Ranks\.v1.*2 processes"):
        train(config, tmp_path / "out")


DIES = """
import os, time
from spacy.util import registry

@registry.callbacks("tests.DiesOnce.v1")
def once():
    def before(nlp, info):
        if info["step"] == 6 and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            if os.environ["RANK"] == "1":
                os.kill(os.getpid(), 9)
            # Else it would fail too, and the launcher might name it. The launcher ends it.
            time.sleep(60)

    return before
"""


@pytest.mark.slow
def test_torchs_launcher_goes_on_where_a_rank_was_killed(encoder, tmp_path):
    given = {"training.max_steps": 9, "initialize.after_init": {**RANKS, "then": RESUME}}
    given |= {"training.before_update": {"@callbacks": "tests.DiesOnce.v1"}}
    config = write_config(tmp_path, "lpft", encoder, **given)
    (tmp_path / "dies.py").write_text(DIES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch += ["--max-restarts", "1", "-m", "spacy", "train", str(config), "-V", "--code", str(tmp_path / "dies.py")]
    (tmp_path / "out").mkdir()
    launch += ["--output", str(tmp_path / "out")]
    done = subprocess.run(launch, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"exitcode: -9.*local_rank: 1", done.stderr), done.stderr
    said = done.stdout + done.stderr
    assert said.count("Going on after step 3") == 1, said
    exec(DIES, {})
    assert run_ranks(one_rank, config, tmp_path / "whole", None) == ["done", "done"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
