"""Rows of the log through spaCy's own logger: names of columns, rates, and no column for a backbone's loss of 0."""

import io

import pytest
import spacy
from spacy.training import Example
from spacy.training.loggers import console_logger_v3

from spacy_transfer.pipeline.backbone.log_columns import Columns

from ...pipelines import backbone_config

TUNING = "spacy-transfer.Tuning.v1"


@pytest.fixture
def logged(tiny_bert):
    """A function that logs two rows of a pipeline, and gives the lines."""

    def log(losses, rates=({}, {}), tuning=None, more=(), **settings):
        nlp = spacy.blank("en")
        config = {**backbone_config(tiny_bert, tuning=tuning), **settings}
        backbone = nlp.add_pipe("transfer_backbone", config=config)
        backbone.initialize(lambda: [Example.from_dict(nlp.make_doc("a cat"), {})])
        nlp.add_pipe("transfer_textcat")
        nlp.add_pipe("tagger")
        for name in more:
            nlp.add_pipe(name if name == "sentencizer" else "tagger", name=name)
        out, now = io.StringIO(), iter([rates[0], *rates])  # It is asked once more for the header.
        log_row, _ = console_logger_v3()(nlp, Columns(nlp, out, lambda: next(now)), io.StringIO())
        assert out.getvalue() == "", "the header waits for the first row"
        for step, loss in enumerate(losses):
            all_losses = {"transfer_backbone": loss, "transfer_textcat": 0.0, "tagger": 12345678.9} | dict.fromkeys(
                more, 7.0
            )
            log_row({"epoch": 0, "step": step, "losses": all_losses, "other_scores": {"cats_score": 0.5}, "score": 0.5})
        return out.getvalue().splitlines()

    return log


def test_names_can_be_told_apart(logged):
    header, below, *rows = logged([0.25, 0.0])
    assert header.split("  ")[0] == "E" and "LOSS BACKBONE  LOSS TEXTCAT   LOSS TAGGER  " in header
    assert header.endswith("SCORE") and len({len(line) for line in (below, *rows)}) == 1
    assert [row.split()[:5] for row in rows] == [
        ["0", "0", "0.25", "0.00", "12345678.90"],
        ["0", "1", "0.00", "0.00", "12345678.90"],
    ]
    assert all(len(row.split()) == len(below.split()) and row.endswith("  0.50") for row in rows)


def test_long_names_can_be_told_apart(logged):
    header, _, row, _ = logged([0.25, 0.0], more=["sentencizer", "transfer_tagger_of_genre", "tagger_of_genre_two"])
    assert "LOSS TAGGER  TAGGER_OF_GENRE  TAGGER_OF_GENRE_TWO  " in header
    assert row.split()[5:7] == ["7.00", "7.00"]


@pytest.mark.parametrize("settings", [{"frozen": True}, {"tuning": {"@misc": TUNING, "freeze": "all"}}])
def test_a_frozen_backbone_has_no_column(logged, settings):
    """A head keeps its own, and columns stand below their names."""
    header, below, *rows = logged([0.0, 0.0], **settings)
    assert "BACKBONE" not in header and "LOSS TEXTCAT" in header
    assert [row.split()[:4] for row in rows] == [["0", str(step), "0.00", "12345678.90"] for step in range(2)]
    end = header.index("LOSS TAGGER") + len("LOSS TAGGER")
    assert all(row[:end].endswith("12345678.90") for row in rows)


@pytest.mark.parametrize("tuning", [None, {"head_first": 2}, {"unfreeze": 1}, {"freeze": 1}])
def test_a_backbone_that_is_trained_later_has_a_column(logged, tuning):
    """Its loss may be 0 at first: the heads come first, or begin with zeros."""
    header, _, *rows = logged([0.0, 0.25], tuning=tuning and {"@misc": TUNING, **tuning})
    assert "LOSS BACKBONE" in header and [row.split()[2] for row in rows] == ["0.00", "0.25"]


def test_rates_stand_in_the_row(logged):
    header, below, *rows = logged([0.0, 0.0], [{"": 8.89e-05, "heads": 0.001}, {"": 0.0}])
    assert header.endswith("SCORE   RATE      RATE HEADS") and below.endswith("------  --------  ----------")
    assert [row.split()[-2:] for row in rows] == [["8.89e-05", "0.001"], ["0", "-"]]


def test_other_lines_pass(logged):
    out = io.StringIO()
    columns = Columns(spacy.blank("en"), out)
    print("Saving results to x", file=columns, flush=True)
    assert out.getvalue() == "Saving results to x\n"
