"""`spacy train` by many ranks, from the config to what is written."""

import sys

import spacy
from spacy.cli.train import train

from spacy_transfer.pipeline.parameters import parameters_of
from spacy_transfer.ranks.buckets import tensor_of

from ..training import write_training
from .processes import run_ranks

BLOCK = {"@callbacks": "spacy-transfer.Ranks.v1", "timeout": 60}
SETTINGS = {"initialize.after_init": BLOCK, "training.max_steps": 8, "training.eval_frequency": 4}


def rows_of(nlp):
    values = [named.parameter.value for name, pipe in nlp.pipeline for named in parameters_of(name, pipe)]
    return b"".join(tensor_of(value).numpy().tobytes() for value in values)


def one_rank(rank, config, output, per_rank=()):
    """Train, and return the weights and the config's logger afterwards."""
    found, command = {}, sys.modules["spacy.cli.train"]
    loop = command.train_nlp

    def keep(nlp, *args, **kwargs):
        result = loop(nlp, *args, **kwargs)
        found["weights"], found["logger"] = rows_of(nlp), dict(nlp.config["training"]["logger"])
        return result

    command.train_nlp = keep
    train(config, output, overrides=dict(per_rank[rank]) if per_rank else {})
    return found


def test_ranks_end_with_the_same_weights_and_one_of_them_writes(tiny_bert, tmp_path):
    overrides = {**SETTINGS, "training.max_steps": 50, "training.eval_frequency": 25, "training.dropout": 0.2}
    config = write_training(tmp_path, tiny_bert, overrides=overrides)
    first, second = run_ranks(one_rank, config, tmp_path / "out")
    assert first == second
    best = spacy.load(tmp_path / "out" / "model-last")
    assert rows_of(best) == first["weights"]
    assert best.config["training"]["logger"]["@loggers"] == "spacy-transfer.ConsoleLogger.v1"
    assert best.config["initialize"]["after_init"] == BLOCK
    assert first["logger"]["@loggers"] == "spacy-transfer.ConsoleLogger.v1"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model-best", "model-last"}
