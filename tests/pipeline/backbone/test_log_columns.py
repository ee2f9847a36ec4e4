"""Rows of the log through spaCy's own logger: names of columns, rates, and no column for a backbone's loss of 0."""

import io

import pytest
import spacy
from spacy.training.loggers import console_logger_v3

from spacy_transfer.pipeline.backbone.log_columns import Columns

from ...pipelines import backbone_config


@pytest.fixture
def logged(tiny_bert):
    """A function that logs two rows of a pipeline, and gives the lines."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("transfer_textcat")
    nlp.add_pipe("tagger")

    def log(losses, rates=({}, {})):
        out, now = io.StringIO(), iter([rates[0], *rates])  # It is asked once more for the header.
        log_row, _ = console_logger_v3()(nlp, Columns(nlp, out, lambda: next(now)), io.StringIO())
        assert out.getvalue() == "", "the header waits for the first row"
        for step, loss in enumerate(losses):
            all_losses = {"transfer_backbone": loss, "transfer_textcat": 0.0, "tagger": 12345678.9}
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


def test_a_backbone_without_a_loss_has_no_column(logged):
    """A head keeps its own, and columns stand below their names."""
    header, below, *rows = logged([0.0, 0.25])
    assert "BACKBONE" not in header and "LOSS TEXTCAT" in header
    assert [row.split()[:4] for row in rows] == [["0", str(step), "0.00", "12345678.90"] for step in range(2)]
    end = header.index("LOSS TAGGER") + len("LOSS TAGGER")
    assert all(row[:end].endswith("12345678.90") for row in rows)


def test_rates_stand_in_the_row(logged):
    header, below, *rows = logged([0.0, 0.0], [{"": 8.89e-05, "heads": 0.001}, {"": 0.0}])
    assert header.endswith("SCORE   RATE      RATE HEADS") and below.endswith("------  --------  ----------")
    assert [row.split()[-2:] for row in rows] == [["8.89e-05", "0.001"], ["0", "-"]]


def test_other_lines_pass(logged):
    out = io.StringIO()
    columns = Columns(spacy.blank("en"), out)
    print("Saving results to x", file=columns, flush=True)
    assert out.getvalue() == "Saving results to x\n"
