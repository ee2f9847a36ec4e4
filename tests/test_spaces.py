"""The ready spaces: each fits the configs that its first line names, whatever is drawn."""

import re
from pathlib import Path

import optuna
import pytest
from spacy.util import load_config, registry

from spacy_transfer.selection.tune.space import Blocks
from spacy_transfer.selection.tune.space_file import read_space

from .test_configs import NAMES

CONFIGS = Path(__file__).parent.parent / "configs"
SPACES = sorted((CONFIGS / "spaces").glob("*.cfg"))
FITS = {path: re.findall(r"\w+", path.read_text().splitlines()[0].removeprefix("# For:")) for path in SPACES}
PAIRS = [(path, name) for path, names in FITS.items() for name in names]


def test_each_config_has_one():
    assert sorted(name for _, name in PAIRS) == sorted(NAMES)


@pytest.mark.parametrize(("path", "name"), PAIRS, ids=[f"{path.stem}-{name}" for path, name in PAIRS])
def test_it_fits(path, name):
    """Its keys are there; and each alternative is drawn, and built."""
    config = load_config(CONFIGS / f"{name}.cfg", interpolate=True)
    space = read_space(path, config)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    named = [(key, setting) for key, setting in space.settings.items() if isinstance(setting, Blocks)]
    for params in [{key: chosen} for key, setting in named for chosen in setting.blocks] or [{}]:
        study.enqueue_trial(params)
        drawn = space.draw(study.ask(), config)
        found = {key: drawn["training"][key] for key in ("optimizer", "batcher")}
        for component, block in drawn["components"].items():
            found[component] = block.get("model", {}).get("tuning")
        built = registry.resolve(found)
        assert callable(built["optimizer"]) and callable(built["batcher"])
