"""Where a `spacy pretrain` can be stepped in, and that nothing of it stays."""

import importlib

import pytest
from spacy.util import registry

from spacy_transfer.pretraining.running import running_pretraining

from .pretrain import config, transformer, write_texts

MODULE = importlib.import_module("spacy.training.pretrain")
OWN = MODULE.ProgressTracker, MODULE.make_update
OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'


def pretrain(folder, source, prepare):
    registry.callbacks.register("tests.StepIn.v1", func=lambda: prepare)
    found = config(write_texts(folder / "raw.txt"), transformer(source), OBJECTIVE, epochs=2)
    found["initialize"]["after_init"] = {"@callbacks": "tests.StepIn.v1"}
    (folder / "out").mkdir(exist_ok=True)
    MODULE.pretrain(found, folder / "out")


def check_restored():
    assert (MODULE.ProgressTracker, MODULE.make_update) == OWN and running_pretraining() is None
    assert not hasattr(MODULE, "range") and not hasattr(MODULE, "enumerate")


def test_every_place(tiny_bert, tmp_path):
    seen = []

    class Folder:
        def __truediv__(self, name):
            seen.append(name)
            return tmp_path / f"elsewhere-{name}"

    def prepare(nlp):
        run = running_pretraining()
        assert running_pretraining() is run and run.output_dir == tmp_path / "out"
        step, batches = run.update, run.batches
        run.begin.append(lambda: seen.append(run.local("model").name))
        run.end.append(lambda: seen.append("end"))
        run.epochs = lambda first, end: [1]
        run.batches = lambda found: list(batches(found))[:2]
        run.update = lambda *args: [step(*args), seen.append("step")][0]
        run.output = Folder()

    pretrain(tmp_path, tiny_bert, prepare)
    # The last ones are written after the loop.
    files = ["model1.bin", "log.jsonl", "end", "model-last.bin", "log.jsonl"]
    assert seen == ["transfer_pretraining", "step", "step", *files]
    assert not list((tmp_path / "out").iterdir()) and (tmp_path / "elsewhere-model-last.bin").exists()
    check_restored()


def test_what_fails_leaves_spacy_as_it_was(tiny_bert, tmp_path):
    def refuses(nlp):
        def begin():
            raise KeyError("refused")

        running_pretraining().begin.append(begin)

    with pytest.raises(KeyError, match="refused"):
        pretrain(tmp_path, tiny_bert, refuses)
    assert not list((tmp_path / "out").iterdir())
    check_restored()

    def breaks(nlp):
        def update(*args):
            raise KeyError("broken")

        running_pretraining().update = update

    with pytest.raises(KeyError, match="broken"):
        pretrain(tmp_path, tiny_bert, breaks)
    check_restored()
    assert (tmp_path / "out" / "model-last.bin").exists()  # As spaCy does.
