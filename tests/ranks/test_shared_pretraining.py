"""`spacy pretrain` by ranks against one process."""

import os
import re
import signal

import numpy
import pytest
import srsly
import torch
from spacy.training.pretrain import pretrain

from spacy_transfer.pretraining.objective import PretrainingModel
from spacy_transfer.resume.resumed_pretraining import ResumedPretraining

from ..pretraining.pretrain import config as make_config
from ..pretraining.pretrain import transformer, write_texts
from .processes import run_ranks

RANKS = {"@callbacks": "spacy-transfer.Ranks.v1", "timeout": 100}
RESUME = {"@callbacks": "spacy-transfer.Resume.v1", "every_steps": 2, "minutes": 0}


def make(folder, source, objective, *lines, n_texts=30, epochs=1):
    """A config of an objective by its name; `lines` are more of its settings."""
    log = [f'log = "{folder / "held_out.jsonl"}"', "progress = false"]
    block = "\n".join([f'@architectures = "{objective}"', *log, *lines])
    found = make_config(write_texts(folder / "raw.txt", n_texts), transformer(source), block, epochs=epochs)
    found["initialize"]["after_init"] = dict(RANKS)
    found["pretraining"]["optimizer"] = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 0.01}
    return found


def gradients(rank, config, folder):
    """Pretrain. RETURNS (Dict[str, NDArray]): The gradients of the first step."""
    torch.set_num_threads(1)
    found, finish = {}, PretrainingModel.finish_update

    def see(self, optimizer):
        modules = [getattr(shim, "_model", None) for node in self.walk() for shim in node.shims]
        for i, module in enumerate(modules if self.attrs["pretraining"].steps == 1 else []):
            for name, value in () if module is None else module.named_parameters():
                if value.grad is not None:
                    found[f"{i}.{name}"] = value.grad.numpy().copy()
        finish(self, optimizer)

    PretrainingModel.finish_update = see
    folder.mkdir(exist_ok=True)
    pretrain(config.copy(), folder, silent=True)
    return found


@pytest.mark.parametrize("objective", ["Contrastive.v1", "MatchRows.v1"])
def test_gradients_are_those_of_one_process(objective, tiny_bert, tmp_path):
    """By ranks, negatives are those of the whole batch, and a mean over tokens is that over all."""
    lines = ['views = "dropout"', "row_dropout = 1e-9", "projection = 8", "temperature = 0.5"]
    if objective == "MatchRows.v1":
        lines = ['projection = "always"', "[pretraining.objective.teacher]"]
        lines += ['@architectures = "spacy-transfer.TransformerBackbone.v1"', f'source = "{tiny_bert}"', "window = 32"]
    config = make(tmp_path, tiny_bert, f"spacy-transfer.{objective}", *lines)
    (alone,) = run_ranks(gradients, config, tmp_path / "alone", size=1)
    first, second = run_ranks(gradients, config, tmp_path / "ranks")
    assert alone.keys() == first.keys() == second.keys() and len(alone) > 20
    for name, one in alone.items():
        assert (first[name] == second[name]).all()
        assert numpy.abs(one - first[name]).max() <= 1e-6 * max(1.0, numpy.abs(one).max()), name
    assert max(numpy.abs(one).max() for one in alone.values()) > 1e-3
    logs = [list(srsly.read_jsonl(tmp_path / folder / "log.jsonl")) for folder in ("alone", "ranks")]
    for one, other in zip(*logs, strict=True):
        assert one["nr_word"] == other["nr_word"] and other["loss"] == pytest.approx(one["loss"], rel=1e-3)


def one_rank(rank, config, folder, kill_after):
    """Pretrain; rank 1 is killed at a step. RETURNS (bytes): The weights at the end."""
    torch.set_num_threads(1)
    batches, seen = ResumedPretraining.batches, {}

    def killed(self, found):
        seen["model"] = self._model
        for number, batch in batches(self, found):
            if self._step == kill_after and rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number, batch

    ResumedPretraining.batches = killed
    folder.mkdir(exist_ok=True)
    pretrain(config.copy(), folder, silent=True)
    (shim,) = seen["model"].get_ref("tok2vec").layers[0].shims
    return b"".join(value.detach().numpy().tobytes() for value in shim._model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("outer", ["Ranks", "Resume"])
def test_ranks_end_alike_and_go_on_after_a_kill(outer, tiny_bert, tmp_path):
    # Few texts: in the last batch of an epoch there is one, and a rank has none.
    config = make(tmp_path, tiny_bert, "spacy-transfer.MaskedWords.v1", epochs=2)
    config["pretraining"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 8, "get_length": None}
    blocks = {"Ranks": {**RANKS, "then": RESUME}, "Resume": {**RESUME, "then": RANKS}}
    config["initialize"]["after_init"] = blocks[outer]
    first, second = run_ranks(one_rank, config, tmp_path / "whole", None)
    assert first == second and len(first) > 1000
    names = {"model0.bin", "model1.bin", "model-last.bin", "log.jsonl"}
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir() if path.is_file()}
    assert set(files) == names and len(files["log.jsonl"].splitlines()) == 3
    assert len(list(srsly.read_jsonl(tmp_path / "held_out.jsonl"))) == 3
    if outer == "Ranks":
        first, second = run_ranks(one_rank, config, tmp_path / "killed", 5)
        assert re.search(r"T256.*rank 1", str(first)) and second == "ended"
        first, second = run_ranks(one_rank, config, tmp_path / "killed", None)
        assert first == second
        assert files == {name: (tmp_path / "killed" / name).read_bytes() for name in names}


def test_objectives_of_others_are_refused(tiny_bert, tmp_path):
    config = make(tmp_path, tiny_bert, "spacy.PretrainCharacters.v1")
    sizes = {"maxout_pieces": 2, "hidden_size": 8, "n_characters": 2}
    config["pretraining"]["objective"] = {"@architectures": "spacy.PretrainCharacters.v1", **sizes}
    for found in run_ranks(gradients, config, tmp_path / "ranks"):
        assert "T492" in str(found)
    assert not list((tmp_path / "ranks").iterdir())


def raises_alone(rank, config, folder):
    from spacy_transfer.pretraining.objective import Pretraining

    step = Pretraining.step

    def fails(self, docs):
        if rank == 1:
            raise KeyError("a broken text")
        return step(self, docs)

    Pretraining.step = fails
    folder.mkdir(exist_ok=True)
    pretrain(config.copy(), folder, silent=True)


def test_a_rank_that_fails_is_named(tiny_bert, tmp_path):
    config = make(tmp_path, tiny_bert, "spacy-transfer.MaskedWords.v1")
    first, second = run_ranks(raises_alone, config, tmp_path / "ranks")
    assert isinstance(second, KeyError)
    assert re.search("T256.*rank 1 .*KeyError: 'a broken text'", str(first))
