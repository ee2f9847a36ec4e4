"""Every configs/pretrain_*.cfg is complete and pretrains as it stands, with nothing given but the texts."""

from pathlib import Path

import pytest
import srsly
from spacy.cli.init_config import fill_config
from spacy.training.pretrain import pretrain
from spacy.util import load_config

CONFIGS = Path(__file__).parent.parent / "configs"
NAMES = [
    "pretrain_contrastive",
    "pretrain_contrastive_cnn",
    "pretrain_denoising",
    "pretrain_masked_cnn",
    "pretrain_masked_lora",
    "pretrain_masked_transformer",
    "pretrain_match_rows",
    "pretrain_next_word_bilstm",
]


def test_these_are_the_configs():
    assert sorted(path.stem for path in CONFIGS.glob("pretrain_*.cfg")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_filled(name, tmp_path):
    path = CONFIGS / f"{name}.cfg"
    fill_config(tmp_path / "filled.cfg", path, pretraining=True, silent=True)
    assert (tmp_path / "filled.cfg").read_text().strip() == path.read_text().strip()


@pytest.mark.parametrize("name", NAMES)
def test_pretrains_as_it_stands(name, tmp_path):
    texts = [f"The patient was given {n} mg of the drug, and felt better on day {n}." for n in range(24)]
    (tmp_path / "raw.txt").write_text("\n".join(texts))
    log = tmp_path / "log.jsonl"
    given = {"paths.raw_text": str(tmp_path / "raw.txt"), "paths.log": str(log), "pretraining.max_epochs": 1}
    given["corpora.pretrain.held_out"] = 0.2
    pretrain(load_config(CONFIGS / f"{name}.cfg", overrides=given, interpolate=True), tmp_path, silent=True)
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log) if "held_out_loss" in line]
    assert len(losses) == 2 and losses[1] != losses[0]
    assert (tmp_path / "model-last.bin").stat().st_size > 1000
