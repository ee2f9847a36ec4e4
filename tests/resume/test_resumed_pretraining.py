"""A `spacy pretrain` that is killed goes on, and ends with the same bytes.

Guards also: whole_files.py.
"""

import os
import signal
import traceback

import pytest
import srsly
from spacy.training.pretrain import pretrain

from spacy_transfer.resume.checkpoints import Checkpoints
from spacy_transfer.resume.resumed_pretraining import ResumedPretraining
from spacy_transfer.resume.state import State
from spacy_transfer.resume.whole_folders import remove

from ..pretraining.pretrain import config as make_config
from ..pretraining.pretrain import transformer, vectors_cnn, write_texts, write_vectors
from .kinds import write_encoder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are made in forked processes")
BLOCK = {"@callbacks": "spacy-transfer.Resume.v1", "every_steps": 3, "minutes": 0}


def make(folder, kind="masked", **changes):
    """A config. `changes` are by dotted keys, with two underscores for a dot."""
    raw, log = write_texts(folder / "raw.txt", 120), f'log = "{folder / "held_out.jsonl"}"\nprogress = false'
    if kind == "masked":  # Dropout draws from torch's generator, masks from the objective's own.
        encoder = write_encoder(folder / "bert")
        found = make_config(raw, transformer(encoder), f'@architectures = "spacy-transfer.MaskedWords.v1"\n{log}')
        optimizer = {"@optimizers": "spacy-transfer.AdamW.v1", "use_averages": True}
        rate = {"@schedules": "spacy-transfer.Linear.v1", "learn_rate": 0.01, "total_steps": 30, "warmup_steps": 4}
        found["pretraining"]["optimizer"] = {**optimizer, "learn_rate": rate}
    else:
        backbone = vectors_cnn(write_vectors(folder / "words.txt"))
        found = make_config(raw, backbone, f'@architectures = "spacy-transfer.MaskedWords.v1"\n{log}', averages="true")
        found["pretraining"]["dropout"] = 0.2
        found["pretraining"]["n_save_every"] = 4
        size = {"@schedules": "compounding.v1", "start": 100, "stop": 300, "compound": 1.1}
        found["pretraining"]["batcher"]["size"] = size
    found["initialize"]["after_init"] = dict(BLOCK)
    found["pretraining"]["max_epochs"] = 3
    for key, value in changes.items():
        *sections, name = key.split("__")
        place = found
        for section in sections:
            place = place[section]
        place[name] = value
    return found


def run(config, folder, kill_after=None, **settings):
    """Pretrain in a process of its own. RETURNS (int): The exit code."""
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if not pid:
        batches = ResumedPretraining.batches

        def killed(self, found):
            for number, batch in batches(self, found):
                if self._step == kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield number, batch

        ResumedPretraining.batches = killed
        try:
            pretrain(config.copy(), folder, silent=True, **settings)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted([*folder.glob("*.bin"), folder / "log.jsonl"])}


def rows(folder):
    """What is held out is compared but for the seconds."""
    found = list(srsly.read_jsonl(folder.parent / "held_out.jsonl"))
    (folder.parent / "held_out.jsonl").unlink()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


@pytest.mark.parametrize("kind", ["masked", "thinc"])
def test_the_same_bytes_after_kills(kind, tmp_path):
    config = make(tmp_path, kind)
    assert run(config, tmp_path / "whole") == 0
    held_out = rows(tmp_path / "whole")
    n_steps = Checkpoints(tmp_path / "whole" / "checkpoints").read().state.values["pretraining"]["step"]
    assert n_steps >= 11
    for step in (2, 4, n_steps - 2):
        assert run(config, tmp_path / "killed", kill_after=step) == -signal.SIGKILL
    assert run(config, tmp_path / "killed") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert {"model0.bin", "model1.bin", "model2.bin", "model-last.bin"} <= set(contents(tmp_path / "whole"))
    assert rows(tmp_path / "killed") == held_out and len(held_out) >= 4
    assert len(list((tmp_path / "killed" / "checkpoints").glob("checkpoint-*"))) == 2


@pytest.fixture
def killed(tmp_path):
    config = make(tmp_path)
    assert run(config, tmp_path / "out", kill_after=5) == -signal.SIGKILL
    return config, tmp_path / "out"


def test_what_changed_is_refused_and_nothing_is_written(killed, caplog):
    config, output = killed
    before = contents(output)
    with pytest.raises(ValueError, match=r"T940.*pretraining\.optimizer\.learn_rate\.learn_rate was 0\.01, is 0\.02"):
        changed = config.copy()
        changed["pretraining"]["optimizer"]["learn_rate"]["learn_rate"] = 0.02
        pretrain(changed, output)
    with pytest.raises(ValueError, match=r"T491.*max_epochs = 0"):
        changed = config.copy()
        changed["pretraining"]["max_epochs"] = 0
        pretrain(changed, output)
    raw = output.parent / "raw.txt"
    raw.write_text(raw.read_text().replace("cat", "dog", 1))
    with pytest.raises(ValueError, match=r"T940.*texts of pretraining\.corpus are others"):
        pretrain(config.copy(), output)
    assert contents(output) == before
    kept = Checkpoints(output / "checkpoints")
    kept.write(999, State({}, {"training": {}}), None)
    with pytest.raises(ValueError, match=r"T493.*'spacy train'"):
        pretrain(config.copy(), output)
    remove(kept.folder / "checkpoint-000000999")
    raw.write_text("\n".join(raw.read_text().splitlines()[:30]))  # Fewer batches than were done.
    config["pretraining"]["max_epochs"] = 4
    config["initialize"]["after_init"]["despite_changes"] = True
    pretrain(config, output)
    assert "W941" in caplog.text and "corpus are others" in caplog.text
    assert (output / "model3.bin").exists() and (output / "model-last.bin").exists()


def test_a_file_is_whole_or_as_it_was(tmp_path):
    from spacy_transfer.resume.whole_files import WholeFiles

    files, path = WholeFiles(tmp_path), tmp_path / "model0.bin"
    with (files / "model0.bin").open("wb") as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(KeyError), (files / "model0.bin").open("wb") as file:
        file.write(b"tw")
        raise KeyError
    with pytest.raises(OSError, match="T941"), (WholeFiles(tmp_path / "missing") / "model0.bin").open("wb"):
        pass
    (tmp_path / ".model1.bin.new").write_bytes(b"half")
    files.recover()
    assert path.read_bytes() == b"one" and [found.name for found in tmp_path.iterdir()] == ["model0.bin"]
    with (files / "log.jsonl").open("a") as file:
        file.write("{}\n")
    files.is_silent = True
    for mode, data in (("a", "{}\n"), ("wb", b"two")):
        with (files / ("log.jsonl" if mode == "a" else "model0.bin")).open(mode) as file:
            file.write(data)
    assert (tmp_path / "log.jsonl").read_text() == "{}\n" and path.read_bytes() == b"one"
